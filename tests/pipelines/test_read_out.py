"""A grid over `epochs` is one training with several read-outs, and only where that is the same."""

from dataclasses import replace

import pytest

from cluster.store import Store
from orchestrator.running.checkpoint import StoreCheckpoint
from pipelines.cohorts import CohortMember
from pipelines.contract import DivergedError
from pipelines.transfer.boundary_cohort import finetune_together
from pipelines.transfer.finetuning import finetune, new_learner
from pipelines.transfer.read_out import finetune_once
from pipelines.transfer.stages import finetune_stage
from tests.pipelines.cohorts import alone
from tests.pipelines.test_finetuning import (
    CutError,
    CuttingCheckpoint,
    context,
    files,
    member,
    model,
    tokens,
)

__all__ = ["alone", "context", "files", "model", "tokens"]  # fixtures

CONSTANT = {"schedule": "constant", "warmup_ratio": 0}


def members_of(model, tokens, method, epochs, **params):
    given = {"inputs": {"prepared": tokens}, "sources": {"model": model}}
    return [
        CohortMember(params=member(method, epochs=n, **CONSTANT, **params), **given) for n in epochs
    ]


def together(context, members, function=finetune_once):
    ended = {}
    for batch in function(context, members):
        ended |= batch
    return ended


def assert_same_bits(result, lone):
    assert result.tables["predictions"].equals(lone.tables["predictions"])
    assert result.value == lone.value


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("full", {"gradient_accumulation_steps": 2}),
        ("lora", {"dropout": 0.1}),
        ("scratch", {"batch_size": 3}),
    ],
)
def test_each_read_out_is_bitwise_the_training_that_ends_there(
    alone, context, model, tokens, method, params
):
    members = members_of(model, tokens, method, (3, 1, 4, 2), **params)
    ended = together(context, members)
    assert list(ended) == [1, 3, 0, 2]  # as they come
    for index, result in ended.items():
        assert_same_bits(result, alone(context, model, tokens, members[index].params))


def test_extras_are_kept_of_the_member_that_wants_them(context, model, tokens):
    first, second = members_of(model, tokens, "full", (1, 2))
    ended = together(context, [replace(first, keep=frozenset({"train_scores"})), second])
    assert [set(ended[n].tables) for n in (0, 1)] == [
        {"predictions", "train_scores"},
        {"predictions"},
    ]


def test_members_whose_end_came_before_the_divergence_are_kept(context, model, tokens):
    params = {"learning_rate": 1e30, "max_grad_norm": 0.0, "batch_size": 40}
    members = members_of(model, tokens, "full", (1, 2, 3), **params)
    ended = together(context, members)
    assert [type(ended[n]) is DivergedError for n in range(3)] == [False, True, True]


@pytest.mark.parametrize("cut_after", [2, 7, 12])
def test_a_training_that_was_cut_goes_on_to_the_same_bits(
    alone, context, model, tokens, tmp_path, cut_after
):
    """Five steps an epoch: the cut comes in the first epoch, in the second, in the third."""
    members = members_of(model, tokens, "full", (1, 2, 3))
    store = Store(str(tmp_path / "cut"))
    checkpoint = CuttingCheckpoint(store, "1" * 64, 0)
    checkpoint.cut_after = cut_after
    context.checkpoint = lambda _: checkpoint
    ended = {}
    with pytest.raises(CutError):
        for batch in finetune_once(context, members):
            ended |= batch
    assert len(ended) == (cut_after - 1) // 5
    context.checkpoint = lambda _: StoreCheckpoint(store, "1" * 64, 0)
    resumed = together(context, members)
    assert not resumed.keys() & ended.keys()
    context.checkpoint = lambda index: StoreCheckpoint(store, "2" * 64, index)
    for index, result in (ended | resumed).items():
        assert_same_bits(result, alone(context, model, tokens, members[index].params))
    assert len(ended | resumed) == 3


def test_read_outs_that_a_lone_attempt_has_passed_are_left_to_be_trained_alone(
    context, model, tokens, tmp_path
):
    members = members_of(model, tokens, "full", (1, 2, 3))
    store = Store(str(tmp_path / "cut"))
    checkpoint = CuttingCheckpoint(store, "1" * 64, 0)
    checkpoint.cut_after = 7
    context.checkpoint = lambda _: checkpoint
    with pytest.raises(CutError):
        finetune(context, [members[2].params], members[2].inputs, members[2].sources)
    context.checkpoint = lambda _: StoreCheckpoint(store, "1" * 64, 0)
    assert list(together(context, members)) == [2]


def test_trials_with_a_shared_boundary_are_trained_once_too(context, model, tokens, monkeypatch):
    began = []
    monkeypatch.setattr(
        "pipelines.transfer.boundary_cohort.new_learner",
        lambda *given: began.append(given) or new_learner(*given),
    )
    members = members_of(model, tokens, "partial", (1, 3, 2), frozen_layers=2)
    other = members_of(model, tokens, "partial", (2,), frozen_layers=1)
    ended = together(context, [*members, *other], finetune_together)
    assert set(ended) == {0, 1, 2, 3}
    assert len(began) == 2
    lone = together(context, [members[2]], finetune_together)[0]
    assert ended[2].tables["predictions"].equals(lone.tables["predictions"])


@pytest.mark.parametrize("params", [{"schedule": "linear"}, {"warmup_ratio": 0.1}, {"patience": 2}])
def test_trainings_that_look_at_their_total_share_nothing(params):
    assert finetune_stage(member("full", **{**CONSTANT, **params})).cohort is None
    assert finetune_stage(member("full", **CONSTANT)).cohort.fusable_params == {"epochs"}
