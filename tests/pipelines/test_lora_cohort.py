"""Trials of the method `lora` over one frozen model come to what each comes to alone."""

import numpy as np
import pytest
import torch
from torch import nn

from pipelines.contract import DivergedError
from pipelines.models.lora_bank import Adapter, LoraBank, NotSharedError
from pipelines.sources import resolve_task
from pipelines.transfer.data.loading import load
from pipelines.transfer.data.tokenization import tokenize
from pipelines.transfer.finetuning import new_learner
from pipelines.transfer.lora_cohort import finetune_together
from tests.pipelines.cohorts import alone, assert_equal, context, of_several_sizes
from tests.pipelines.cohorts import together as run_together
from tests.pipelines.test_finetuning import files, member, model, tokens
from tests.pipelines.test_transfer import Fake
from tests.pipelines.tiny import save_tagged

__all__ = ["alone", "context", "files", "model", "tokens"]  # fixtures

MIXED = (
    {},
    {"rank": 2, "learning_rate": 1e-2, "epochs": 3},
    {"dropout": 0.2, "schedule": "cosine", "alpha": 4},
    {"rank": 12, "head_learning_rate": 0.1, "epochs": 4, "patience": 1},
    {"weight_decay": 0.3, "warmup_ratio": 0.5, "max_grad_norm": 0.1},
    {"schedule": "constant", "warmup_ratio": 0, "epochs": 1, "max_grad_norm": 0},
    {"dropout": 0.5, "rank": 1},
)

EVERYWHERE = (0,)
ABOVE_SOME = (1, 0.5, 3)
"""How many layers have no adapters, by turns."""


def mixed(count, frozen=EVERYWHERE, **common):
    return [
        {
            **member("lora", **(MIXED[n % len(MIXED)] | common)),
            "seed": n // len(MIXED),
            "frozen_layers": frozen[n % len(frozen)],
        }
        for n in range(count)
    ]


def together(context, model, tokens, params, *, side_by_side=True):
    options = {"side_by_side": side_by_side}
    return run_together(finetune_together, context, model, tokens, params, **options)


@pytest.mark.parametrize(
    ("count", "side_by_side", "frozen"),
    [
        *((count, True, EVERYWHERE) for count in (1, 2, 7, 32)),
        (7, False, EVERYWHERE),
        *((count, False, ABOVE_SOME) for count in (1, 2, 7, 32)),
        (1, True, ABOVE_SOME),
        (14, True, ABOVE_SOME),
    ],
)
def test_a_cohort_of_mixed_members_gives_what_each_gives_alone(
    alone, context, model, tokens, count, side_by_side, frozen
):
    params = mixed(count, frozen)
    sizes = (40,) if frozen == EVERYWHERE else (40, 25)
    tasks = of_several_sizes(tokens, count, sizes)
    ended = together(context, model, tasks, params, side_by_side=side_by_side)
    assert set(ended) == set(range(count))
    for number in range(min(count, 7)) if count < 32 else (8, 10, 24, 31):
        assert_equal(ended[number], alone(context, model, tasks[number], params[number]))


@pytest.mark.parametrize(
    "common",
    [
        {"target_modules": "all-linear", "batch_size": 7, "pooling": "cls"},
        {"gradient_accumulation_steps": 3, "pooling": "max"},
        {"precision": "bf16"},
        {"frozen": (2,), "target_modules": "all-linear", "gradient_accumulation_steps": 3},
        {"frozen": (1,), "precision": "bf16"},
    ],
)
def test_what_the_members_have_in_common_may_be_anything(alone, context, model, tokens, common):
    params = mixed(3, **common)
    ended = together(context, model, tokens, params)
    bound = 0.1 if "precision" in common else 2e-4
    for number in range(3):
        lone = alone(context, model, tokens, params[number])
        ours, theirs = (
            np.stack(r.tables["predictions"]["scores"].to_pylist()) for r in (ended[number], lone)
        )
        np.testing.assert_allclose(ours, theirs, atol=bound)


@pytest.mark.parametrize("frozen", [EVERYWHERE, ABOVE_SOME])
def test_the_order_of_the_members_and_their_company_change_nothing(context, model, tokens, frozen):
    params = mixed(7, frozen)
    for side_by_side in (True, False):
        whole = together(context, model, tokens, params, side_by_side=side_by_side)
        few = [params[n] for n in (6, 3, 1)]
        part = together(context, model, tokens, few, side_by_side=side_by_side)
        for place, number in enumerate((6, 3, 1)):
            assert_equal(part[place], whole[number])


@pytest.mark.parametrize("frozen", [EVERYWHERE, ABOVE_SOME])
def test_a_member_that_diverges_leaves_the_others_alone(alone, context, model, tokens, frozen):
    params = mixed(5, frozen)
    params[1] = {**params[1], "learning_rate": 1e30, "max_grad_norm": 0.0}
    for side_by_side in (True, False):
        ended = together(context, model, tokens, params, side_by_side=side_by_side)
        assert isinstance(ended[1], DivergedError)
        for number in (0, 2, 3, 4):
            assert_equal(ended[number], alone(context, model, tokens, params[number]))
    with pytest.raises(DivergedError, match=str(ended[1])):
        alone(context, model, tokens, params[1])


def test_one_that_stops_early_leaves_the_others_alone(alone, context, model, tokens):
    params = mixed(3, epochs=6)
    params[1] |= {"learning_rate": 0.5, "head_learning_rate": 0.5, "patience": 1}
    ended = together(context, model, tokens, params)
    epochs = [sum("epoch" in p for p in ended[n].value["curve"]) for n in range(3)]
    assert epochs[1] < 6 == epochs[0] == epochs[2]
    for number in range(3):
        assert_equal(ended[number], alone(context, model, tokens, params[number]))


def test_a_model_that_mixes_the_rows_of_a_batch_is_not_shared():
    maps = nn.Sequential(nn.Linear(4, 4))
    bank = LoraBank(maps, ["0"], [(4, 4)], rank=2)
    adapter = Adapter(scale=1.0, dropout=0.0, generator=torch.Generator())
    bank.use(torch.zeros(2, 16), [adapter, adapter], 3, None, draws=False)
    assert maps(torch.ones(6, 5, 4)).shape == (6, 5, 4)
    with pytest.raises(NotSharedError):
        maps(torch.ones(1, 5, 4))  # as of a table of relative positions


@pytest.fixture
def tagged(context, model, tmp_path):
    """The tokens of an invented task whose words have labels."""
    entry = {"name": "tags", "source": str(save_tagged(tmp_path / "tags.jsonl"))}
    columns = {"kind": "token-classification", "text": "words", "label": "tags"}
    task = resolve_task({**entry, **columns}, tmp_path)
    sizes = {"train_size": 30, "validation_size": 20, "test_size": 20}
    (raw,) = load(context, [sizes], {}, {"task": task})
    examples = {"examples": Fake(raw.value, raw.tables)}
    (result,) = tokenize(context, [{"max_length": 32}], examples, {"model": model})
    return Fake(result.value, result.tables)


@pytest.mark.parametrize("frozen", [EVERYWHERE, (2,)])
def test_words_of_texts_of_unlike_length_are_not_mixed_up(alone, context, model, tagged, frozen):
    params = mixed(3, frozen)
    ended = together(context, model, tagged, params)
    for number in range(3):
        assert_equal(ended[number], alone(context, model, tagged, params[number]))


def test_of_the_frozen_model_only_the_dropout_of_adapters_and_head_is_on(context, files):
    learner = new_learner(context, files, member("lora", dropout=0.1), 2)
    learner.begin_training()
    active = {name for name, part in learner.module.named_modules() if part.training}
    assert {"dropout", "head"} < active
    assert all(name.endswith("lora_dropout.default") for name in active - {"dropout", "head"})
