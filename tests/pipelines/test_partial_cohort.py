"""Trials that freeze the same layers share one pass, and come to what each comes to alone."""

import pytest

from pipelines.contract import DivergedError
from pipelines.transfer.partial_cohort import finetune_together
from tests.pipelines.cohorts import alone, assert_equal
from tests.pipelines.cohorts import together as run_together
from tests.pipelines.test_finetuning import context, files, member, model, tokens

__all__ = ["context", "files", "model", "tokens"]  # fixtures

MIXED = (
    {},
    {"frozen_layers": 3, "learning_rate": 1e-3},
    {"frozen_layers": 1, "schedule": "cosine", "batch_size": 5},
    {"frozen_layers": 0.5, "head_learning_rate": 0.1, "epochs": 3, "patience": 1},
    {"frozen_layers": 0, "pooling": "cls", "weight_decay": 0.3},
    {"gradient_accumulation_steps": 2, "max_grad_norm": 0.1},
    {"frozen_layers": 4},
)


def mixed(count):
    return [
        {**member("partial", **MIXED[n % len(MIXED)]), "seed": n // len(MIXED)}
        for n in range(count)
    ]


def together(context, model, tokens, params):
    return run_together(finetune_together, context, model, tokens, params)


@pytest.mark.parametrize("count", [1, 2, 7, 32])
def test_a_cohort_of_mixed_members_gives_what_each_gives_alone(context, model, tokens, count):
    params = mixed(count)
    ended = together(context, model, tokens, params)
    uncut = {n for n, each in enumerate(params) if each["frozen_layers"] == 4}
    assert set(ended) == set(range(count)) - uncut  # of which nothing is left above the cut
    for number, result in ended.items():
        if number % 4 < 2 or number < 8:
            assert_equal(result, alone(context, model, tokens, params[number]))


def test_the_order_of_the_members_and_their_company_change_nothing(context, model, tokens):
    params = mixed(6)
    whole = together(context, model, tokens, params)
    part = together(context, model, tokens, [params[n] for n in (4, 1, 3)])
    for place, number in enumerate((4, 1, 3)):
        assert_equal(part[place], whole[number])


def test_a_member_that_diverges_leaves_the_others_alone(context, model, tokens):
    params = mixed(4)
    params[1] = {**params[1], "learning_rate": 1e30, "max_grad_norm": 0.0}
    ended = together(context, model, tokens, params)
    assert isinstance(ended[1], DivergedError)
    for number in (0, 2, 3):
        assert_equal(ended[number], alone(context, model, tokens, params[number]))
