"""The method `probe`: a linear head on the features of the frozen model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import torch
from torch import nn

from pipelines.cohorts import CohortMember, Finished
from pipelines.contract import Artifact, Context, Member, StageResult
from pipelines.models.backbone import set_up_torch
from pipelines.training.heads import Head, train_heads
from pipelines.training.learner import Learner
from pipelines.training.loop import train
from pipelines.transfer.data.loading import SPLITS
from pipelines.transfer.data.truth import kept_truth
from pipelines.transfer.examples import (
    FeatureExamples,
    LabelScale,
    new_head,
    num_outputs,
    score_tables,
)


def probe(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Train a linear head on frozen features."""
    set_up_torch(context)
    task = _Task(context, inputs["features"])
    return [_alone(context, task, member) for member in members]


def probe_together(context: Context, members: Sequence[CohortMember]) -> Iterator[Finished]:
    """Train side by side the heads of those members that have the same features."""
    set_up_torch(context)
    by_features: dict[int, dict[int, CohortMember]] = {}
    for index, member in enumerate(members):
        by_features.setdefault(id(member.inputs["features"]), {})[index] = member
    for own in by_features.values():
        yield _side_by_side(context, own)


def _side_by_side(context: Context, members: Mapping[int, CohortMember]) -> Finished:
    task = _Task(context, next(iter(members.values())).inputs["features"])
    heads = [
        Head(
            params=member.params,
            linear=task.new_head(member.params),
            train=task.sets["train"],
            validation=task.sets["validation"],
        )
        for member in members.values()
    ]
    train_heads(heads)
    return {
        index: head.error or task.result(head.linear, head.curve, member.keep)
        for head, (index, member) in zip(heads, members.items(), strict=True)
    }


def _alone(context: Context, task: _Task, member: Member) -> StageResult:
    head = task.new_head(member)
    learner = Learner(forward=head, module=head, groups=[{"params": list(head.parameters())}])
    curve = train(learner, task.sets["train"], task.sets["validation"], member)
    return task.result(head, curve, context.keep)


class _Task:
    """The features and labels of a task, on the device."""

    def __init__(self, context: Context, features: Artifact) -> None:
        self._device = context.device
        self._labels = features.value["labels"]
        self._truth = {split: kept_truth(features, split) for split in SPLITS}
        is_regression = self._labels is None
        self._scale = LabelScale(self._truth["train"].labels, is_regression=is_regression)
        self.sets = {
            split: FeatureExamples(
                torch.tensor(features.array(f"{split}/features"), device=context.device),
                self._scale.to_targets(part.targets, context.device),
                part.spans(),
            )
            for split, part in self._truth.items()
        }

    def new_head(self, member: Member) -> nn.Linear:
        """Return a head as the member's seed draws it."""
        width = self.sets["train"].features.shape[1]
        return new_head(width, num_outputs(self._labels), member["seed"]).to(self._device)

    @torch.inference_mode()
    def result(
        self, head: nn.Linear, curve: Sequence[Mapping[str, Any]], keep: Set[str]
    ) -> StageResult:
        """Return what a trained head leaves behind."""
        outputs = {split: head(rows.features) for split, rows in self.sets.items()}
        return StageResult(
            value={"labels": self._labels, "curve": curve},
            tables=score_tables(outputs, self._truth, self._scale, keep),
            arrays={name: weight.numpy(force=True) for name, weight in head.state_dict().items()},
        )
