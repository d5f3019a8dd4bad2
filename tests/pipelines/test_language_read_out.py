"""Language models: a grid over `epochs` is one training, and a base with adapters stays fixed."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import torch

from cluster.store import Store
from orchestrator import plan, run
from orchestrator.running.checkpoint import StoreCheckpoint
from pipelines.cohorts import CohortMember
from pipelines.contract import DivergedError
from pipelines.language.blocking import tokenize_blocks
from pipelines.language.blocks import Vocabulary
from pipelines.language.training import language_examples
from pipelines.models.files import model_files
from pipelines.sources import resolve_model
from pipelines.transfer.language_modeling import (
    finetune_language_model,
    finetune_language_model_once,
    new_language_learner,
)
from pipelines.transfer.stages import language_modeling_stage
from tests.pipelines.test_finetuning import CutError, CuttingCheckpoint, context, member
from tests.pipelines.test_transfer import Fake
from tests.pipelines.tiny_language import save_gpt2, save_text, sentences

__all__ = ["context"]  # a fixture

CONSTANT = {"schedule": "constant", "warmup_ratio": 0}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A random GPT-2 with a dropout of 0.1 everywhere."""
    folder = save_gpt2(tmp_path_factory.mktemp("gpt2"))
    return resolve_model({"name": "tiny-gpt2", "source": str(folder)}, folder)


@pytest.fixture
def blocks(context, model):
    texts = sentences(40)
    splits = {"train": texts[:24], "validation": texts[24:32], "test": texts[32:]}
    examples = Fake({}, {split: pa.table({"text": lines}) for split, lines in splits.items()})
    wanted = [{"max_length": 16, "splits": list(splits)}]
    (result,) = tokenize_blocks(context, wanted, {"examples": examples}, {"model": model})
    return Fake(result.value, result.tables)


def members_of(model, blocks, method, epochs, **params):
    given = {"inputs": {"blocks": blocks}, "sources": {"model": model}}
    return [
        CohortMember(params=member(method, epochs=n, **CONSTANT, **params), **given) for n in epochs
    ]


def together(context, members):
    ended = {}
    for batch in finetune_language_model_once(context, members):
        ended |= batch
    return ended


def assert_same_bits(context, member, result):
    (alone,) = finetune_language_model(context, [member.params], member.inputs, member.sources)
    assert result.tables["predictions"].equals(alone.tables["predictions"])
    assert result.value == alone.value


# Trained once


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("full", {"gradient_accumulation_steps": 2}),
        ("partial", {"frozen_layers": 1}),
        ("lora", {"dropout": 0.1}),
        ("scratch", {"batch_size": 3}),
    ],
)
def test_each_read_out_is_bitwise_the_training_that_ends_there(
    context, model, blocks, method, params
):
    members = members_of(model, blocks, method, (4, 1, 2), **params)
    ended = together(context, members)
    assert list(ended) == [1, 2, 0]  # as they come
    for index, result in ended.items():
        assert_same_bits(context, members[index], result)


def test_members_whose_end_came_before_the_divergence_are_kept(context, model, blocks):
    params = {"learning_rate": 1e30, "max_grad_norm": 0.0, "batch_size": 100}
    members = members_of(model, blocks, "full", (1, 2, 3), **params)
    ended = together(context, members)
    assert [type(ended[n]) is DivergedError for n in range(3)] == [False, True, True]


def test_a_training_that_was_cut_goes_on_to_the_same_bits(context, model, blocks, tmp_path):
    members = members_of(model, blocks, "full", (1, 2, 3), batch_size=100)  # one step an epoch
    store = Store(str(tmp_path / "cut"))
    checkpoint = CuttingCheckpoint(store, "1" * 64, 0)
    checkpoint.cut_after = 2
    context.checkpoint = lambda _: checkpoint
    ended = {}
    with pytest.raises(CutError):
        for batch in finetune_language_model_once(context, members):
            ended |= batch
    assert list(ended) == [0]
    context.checkpoint = lambda _: StoreCheckpoint(store, "1" * 64, 0)
    resumed = together(context, members)
    assert list(resumed) == [1, 2]
    context.checkpoint = lambda index: StoreCheckpoint(store, "2" * 64, index)
    for index, result in (ended | resumed).items():
        assert_same_bits(context, members[index], result)


@pytest.mark.parametrize("params", [{"schedule": "linear"}, {"warmup_ratio": 0.1}, {"patience": 2}])
def test_trainings_that_look_at_their_total_share_nothing(params):
    stage = language_modeling_stage(member("full", **{**CONSTANT, **params}))
    assert stage.cohort is None
    shared = language_modeling_stage(member("full", **CONSTANT))
    assert shared.cohort.fusable_params == {"epochs"}
    assert (shared.name, shared.version) == (stage.name, stage.version)


def test_a_sweep_over_epochs_trains_each_method_once_and_every_trial_is_exact(tmp_path):
    space = {
        "method": ["full", "lora"],
        "epochs": [1, 2, 4],
        "learning_rate": 5e-3,
        "max_length": 16,
        **CONSTANT,
    }
    sweep = {
        "name": "lengths",
        "models": {"name": "tiny-gpt2", "source": str(save_gpt2(tmp_path / "gpt2"))},
        "tasks": {
            "name": "corpus",
            "source": str(save_text(tmp_path / "corpus.txt", num=60)),
            "kind": "language-modeling",
        },
        "space": space,
        "tracking": "off",
    }
    cohorts = plan(sweep, store=str(tmp_path / "shared")).cohorts
    assert [len(cohort.stages) for cohort in cohorts] == [3, 3]
    shared = run(sweep, backend="inline", store=str(tmp_path / "shared"))
    alone = run({**sweep, "sharing": "off"}, backend="inline", store=str(tmp_path / "alone"))
    assert Counter(str(result.fidelity) for result in shared.results) == {"exact": 6}
    metrics = [{r.trial.id: r.metrics for r in report.results} for report in (shared, alone)]
    assert metrics[0] == metrics[1]


# A base with adapters


def outputs_in_training(context, model, blocks, params):
    """Return the outputs of one batch in two passes, as training makes them."""
    learner = new_language_learner(context, model_files(context, {"model": model}, {}), params)
    vocabulary = Vocabulary.read(blocks.value["vocabulary"])
    objective = {"objective": "causal"}
    examples = language_examples(blocks.table("train"), vocabulary, objective, "cpu", seed=0)
    learner.begin_training()
    inputs, _ = examples.batch(np.arange(4))
    return learner, [learner.outputs(inputs) for _ in range(2)]


def test_training_adapters_leaves_the_base_without_dropout(context, model, blocks):
    learner, (first, second) = outputs_in_training(context, model, blocks, member("lora"))
    assert torch.equal(first, second)
    assert not any(part.training for part in learner.module.modules())
    _, (first, second) = outputs_in_training(context, model, blocks, member("full"))
    assert not torch.equal(first, second)  # it is there, and on where the model itself is trained


def test_the_dropout_of_adapters_is_on(context, model, blocks):
    params = member("lora", dropout=0.1)
    learner, _ = outputs_in_training(context, model, blocks, params)
    active = {name for name, part in learner.module.named_modules() if part.training}
    assert active
    assert all(name.endswith("lora_dropout.default") for name in active)
