"""Trials over one pass of what they all leave frozen below: of `partial`, and of `lora` in turn."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.cohorts import CohortMember, Finished
from pipelines.contract import Context, Member
from pipelines.models.anatomy import layers_of
from pipelines.models.backbone import last_hidden, set_up_torch, trainable_copy, warm_model
from pipelines.models.boundary import (
    BOUNDARY,
    MASK,
    Activations,
    activations,
    cut_below,
    into_layers,
)
from pipelines.models.facts import num_frozen
from pipelines.models.files import ModelFiles, model_files
from pipelines.training.learner import Learner, Rows
from pipelines.training.precision import arithmetic, precision_on
from pipelines.transfer.data.loading import SPLITS
from pipelines.transfer.data.prepared import PREPARED, Batches
from pipelines.transfer.encoding import BATCH_SIZE
from pipelines.transfer.examples import PreparedExamples, num_outputs
from pipelines.transfer.finetuning import PreparedTask, new_learner
from pipelines.transfer.read_out import alike_but_for_epochs, read_outs

TOLERANCE = 1e-4
"""By how much the cut model may differ from the whole one: another order of sums."""

KEPT_SHARE = 0.5
"""The part of the free memory that activations may take; training needs the rest."""


def finetune_together(context: Context, members: Sequence[CohortMember]) -> Iterator[Finished]:
    """Train the members one after another, each on the activations below its first free layer.

    Members that are alike but for `epochs` are trained once, where the schedule allows it; those
    whose model cannot be cut are left to be trained alone.
    """
    set_up_torch(context)
    parts = upper_parts(context, members)
    yield {}
    for part, own in parts:
        for alike in alike_but_for_epochs(own):
            learner = part.learner(context, next(iter(alike.values())).params)
            yield from read_outs(context, part.task, alike, learner, part.sets)


@dataclass(frozen=True, kw_only=True)
class UpperPart:
    """A model above its lowest layers, and the rows of a task as it takes them."""

    files: ModelFiles
    depth: int
    """How many layers lie below; with 0 it is the whole model."""
    task: PreparedTask
    sets: Mapping[str, PreparedExamples]
    """By split."""

    def cut(self, backbone: nn.Module) -> None:
        """Let a model of these files begin here."""
        if self.depth:
            cut_below(backbone, self.depth)

    def learner(self, context: Context, params: Member) -> Learner:
        """Return what a trial trains."""
        learner = new_learner(context, self.files, params, num_outputs(self.task.labels))
        self.cut(learner.module.get_submodule("backbone"))
        return learner


def upper_parts(
    context: Context, members: Sequence[CohortMember]
) -> list[tuple[UpperPart, dict[int, CohortMember]]]:
    """Return what there is to train, each with those who train it, by position.

    One pass over the distinct rows of all members gives the activations of every depth that is
    asked for. Members whose model cannot be cut there, or whose activations do not fit into
    memory, are left out.

    Args:
        context: What the worker offers.
        members: The trials; they have one model and one precision.
    """
    first = members[0]
    files = model_files(context, first.sources, first.inputs)
    num_layers = len(layers_of(warm_model(context, files))[1])
    tasks: dict[int, PreparedTask] = {}
    groups: dict[tuple[int, int], dict[int, CohortMember]] = {}
    for index, member in enumerate(members):
        prepared = member.inputs[PREPARED]
        if id(prepared) not in tasks:
            tasks[id(prepared)] = PreparedTask(context, prepared)
        depth = num_frozen(member.params.get("frozen_layers", 0), num_layers)
        groups.setdefault((id(prepared), depth), {})[index] = member
    depths = {depth for _, depth in groups} - {num_layers}
    precision = precision_on(context.device, first.params["precision"])
    sets = _sets_above(context, files, tasks, depths, precision)
    return [
        (UpperPart(files=files, depth=depth, task=tasks[key], sets=sets[key, depth]), own)
        for (key, depth), own in groups.items()
        if (key, depth) in sets
    ]


def _sets_above(
    context: Context,
    files: ModelFiles,
    tasks: Mapping[int, PreparedTask],
    depths: Collection[int],
    precision: torch.dtype,
) -> dict[tuple[int, int], Mapping[str, PreparedExamples]]:
    """Return the splits of each task by key, above each depth that is cut.

    Not cut is where the model cannot be, or where memory has no room for the activations.
    """
    sets: dict[tuple[int, int], Mapping[str, PreparedExamples]]
    sets = {(key, 0): task.sets for key, task in tasks.items()}
    rows = next(iter(tasks.values())).batches["train"]
    cuts = [d for d in sorted(depths) if d and _can_be_cut(context, files, rows, d)]
    if not cuts:
        return sets
    batches = [task.batches[split] for task in tasks.values() for split in SPLITS]
    with arithmetic(precision, context.device):
        below, places = activations(
            warm_model(context, files),
            batches,
            cuts,
            BATCH_SIZE,
            max_gib=KEPT_SHARE * context.free_memory_gib(),
        )
    for depth, kept in below.items():
        above = map(partial(AboveBoundary, kept), batches, places)
        for key, task in tasks.items():
            sets[key, depth] = task.sets_of({split: next(above) for split in SPLITS})
    return sets


class AboveBoundary:
    """Rows whose lower activations are known; what :class:`Batches` asks.

    Args:
        below: The activations of these rows and of others.
        batches: The rows.
        places: Where among the activations theirs are.
    """

    def __init__(self, below: Activations, batches: Batches, places: Rows) -> None:
        self._below = below
        self._batches = batches
        self._places = places

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def num_outputs(self) -> int:
        """How many things there are to predict."""
        return self._batches.num_outputs

    def places(self, rows: Rows) -> Rows:
        """Return the numbers of what a batch of rows gives outputs for."""
        return self._batches.places(rows)

    def batch(self, rows: Rows) -> dict[str, Tensor]:
        """Return the model's inputs for some rows, and the activations below the cut."""
        return {**self._batches.batch(rows), BOUNDARY: self._below.batch(self._places[rows])}

    def keys(self) -> list[bytes]:
        """Return for each row what the model sees of it."""
        return self._batches.keys()

    def by_length(self, batch_size: int, rows: Rows | None = None) -> Iterator[Rows]:
        """Yield some rows, or all, in batches that are cheap to run."""
        yield from self._batches.by_length(batch_size, rows)


@torch.inference_mode()
def _can_be_cut(context: Context, files: ModelFiles, rows: Batches, depth: int) -> bool:
    """Return whether the cut model gives what the whole one does, seen on rows of all lengths.

    They are compared in single precision, because the rounding of another would hide a fault.
    """
    order = np.concatenate(list(rows.by_length(len(rows))))
    batch = rows.batch(order[[0, len(order) // 2, -1]])
    model = warm_model(context, files)
    below = Activations()
    below.add(into_layers(model, batch, [depth])[depth], batch.get(MASK))
    upper = trainable_copy(context, files)
    cut_below(upper, depth)
    cut = last_hidden(upper.eval(), {**batch, BOUNDARY: below.batch(np.arange(3))})
    whole = last_hidden(model, batch)
    if MASK in batch:
        seen = batch[MASK] == 1
        whole, cut = whole[seen], cut[seen]
    return torch.allclose(whole, cut, rtol=TOLERANCE, atol=TOLERANCE)
