"""Trials that differ in `epochs` only, as one training that stops over after each of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pipelines.cohorts import CohortMember, Finished
from pipelines.contract import (
    Checkpoint,
    Context,
    DivergedError,
    Member,
    StageResult,
    digest_of,
)
from pipelines.models.backbone import set_up_torch
from pipelines.models.files import model_files
from pipelines.training.learner import Examples, Learner
from pipelines.training.loop import train_for
from pipelines.transfer.data.prepared import PREPARED
from pipelines.transfer.distilling import taught
from pipelines.transfer.examples import PreparedExamples, num_outputs
from pipelines.transfer.finetuning import PreparedTask, new_learner
from pipelines.transfer.stages import allows_read_outs

Done = TypeVar("Done")
"""How a training went until it was read out."""


def finetune_once(context: Context, members: Sequence[CohortMember]) -> Iterator[Finished]:
    """Train for the longest, and give each member the predictions and curve of its last epoch.

    Members that an earlier attempt has passed without keeping them are left to be trained alone.
    """
    set_up_torch(context)
    first = members[0]
    files = model_files(context, first.sources, first.inputs)
    task = PreparedTask(context, first.inputs[PREPARED])
    learner = new_learner(context, files, first.params, num_outputs(task.labels))
    train_set = taught(
        task.sets["train"], task.truth["train"], task.scale, first.inputs, first.params
    )
    yield from read_outs(context, task, dict(enumerate(members)), learner, task.sets, train_set)


def read_outs(
    context: Context,
    task: PreparedTask,
    members: Mapping[int, CohortMember],
    learner: Learner,
    sets: Mapping[str, PreparedExamples],
    train_set: Examples | None = None,
) -> Iterator[Finished]:
    """Train once, for the longest of some members, and give the result of each as it comes.

    Args:
        context: Has the checkpoints of the members, by their position in the call.
        task: What is learnt.
        members: By position; they are alike but for `epochs`.
        learner: What is trained, as the params of any of the members have it.
        sets: The rows of each split.
        train_set: The rows to learn from, where they are more than those of `sets`.
    """
    rows: Examples = sets["train"] if train_set is None else train_set

    def training(
        epochs: Collection[int], params: Member, checkpoint: Checkpoint
    ) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        return train_for(epochs, learner, rows, sets["validation"], params, checkpoint)

    def result(curve: list[dict[str, Any]], member: CohortMember) -> StageResult:
        return task.result(learner, curve, member.keep, sets)

    yield from each_read_out(context, members, training, result)


def each_read_out(
    context: Context,
    members: Mapping[int, CohortMember],
    training: Callable[[Collection[int], Member, Checkpoint], Iterator[tuple[int, Done]]],
    result: Callable[[Done, CohortMember], StageResult],
) -> Iterator[Finished]:
    """Train once, whatever is trained, and give each member's result as its last epoch ends.

    Args:
        context: Has the checkpoints of the members, by their position in the call.
        members: By position; they are alike but for `epochs`.
        training: Is given after how many epochs to stop over, the params of the longest and its
            checkpoint; yields as `train_for` does.
        result: What a member leaves behind; called while the weights are those of its last epoch.
    """
    by_epochs = {member.params["epochs"]: index for index, member in members.items()}
    longest = by_epochs[max(by_epochs)]
    ended: set[int] = set()
    stops = training(tuple(by_epochs), members[longest].params, context.checkpoint(longest))
    try:
        for epochs, done in stops:
            index = by_epochs[epochs]
            ended.add(index)
            yield {index: result(done, members[index])}
    except DivergedError as error:
        yield {index: error for index in members if index not in ended}


def alike_but_for_epochs(members: Mapping[int, CohortMember]) -> list[dict[int, CohortMember]]:
    """Return the members in groups of which one training gives all results."""
    groups: dict[str, dict[int, CohortMember]] = {}
    for index, member in members.items():
        is_prefix = allows_read_outs(member.params)
        hidden = {"epochs": None} if is_prefix else {"position": index}
        groups.setdefault(digest_of({**member.params, **hidden}), {})[index] = member
    return list(groups.values())
