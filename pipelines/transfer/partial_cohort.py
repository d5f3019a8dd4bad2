"""Trials of the method `partial` over one pass of what they all leave frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from pipelines.cohorts import CohortMember, Finished
from pipelines.contract import Context
from pipelines.models.anatomy import layers_of
from pipelines.models.backbone import last_hidden, trainable_copy, use_threads, warm_model
from pipelines.models.boundary import BOUNDARY, Activations, activations, cut_below
from pipelines.models.facts import num_frozen
from pipelines.models.files import ModelFiles, model_files
from pipelines.training.loop import Rows
from pipelines.transfer.data.loading import SPLITS
from pipelines.transfer.data.prepared import PREPARED, Batches
from pipelines.transfer.encoding import BATCH_SIZE
from pipelines.transfer.examples import num_outputs
from pipelines.transfer.finetuning import PreparedTask, new_learner
from pipelines.transfer.read_out import alike_but_for_epochs, read_outs

TOLERANCE = 1e-4
"""By how much the cut model may differ from the whole one: another order of sums."""
NUM_COMPARED = 4
"""Rows on which they are compared before anything is trained."""


def finetune_together(context: Context, members: Sequence[CohortMember]) -> Iterator[Finished]:
    """Train the members one after another, each on the activations below its first free layer.

    One pass over all rows gives the activations of every depth that is asked for. Members that
    are alike but for `epochs` are trained once, where the schedule allows it; those whose model
    cannot be cut are left to be trained alone.
    """
    use_threads(context)
    first = members[0]
    files = model_files(context, first.sources, first.inputs)
    task = PreparedTask(context, first.inputs[PREPARED])
    backbone = warm_model(context, files)
    depths = [_depth(backbone, member) for member in members]
    _, layers = layers_of(backbone)
    wanted = sorted({depth for depth in depths if depth < len(layers)})
    if not wanted:
        return
    below = {
        split: activations(backbone, task.batches[split], wanted, BATCH_SIZE) for split in SPLITS
    }
    usable = {depth for depth in wanted if _agrees(context, files, task, below["test"], depth)}
    possible = {n: m for n, m in enumerate(members) if depths[n] in usable}
    for alike in alike_but_for_epochs(possible):
        index, member = next(iter(alike.items()))
        depth = depths[index]
        batches = {s: AboveBoundary(task.batches[s], below[s][depth]) for s in SPLITS}
        learner = new_learner(context, files, member.params, num_outputs(task.labels))
        cut_below(learner.module.get_submodule("backbone"), depth)
        yield from read_outs(context, task, alike, learner, task.sets_of(batches))


class AboveBoundary:
    """Rows whose lower activations are known; what :class:`Batches` asks."""

    def __init__(self, batches: Batches, below: Activations) -> None:
        self._batches = batches
        self._below = below

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
        return {**self._batches.batch(rows), BOUNDARY: self._below.batch(rows)}

    def keys(self) -> list[bytes]:
        """Return for each row what the model sees of it."""
        return self._batches.keys()

    def by_length(self, batch_size: int, rows: Rows | None = None) -> Iterator[Rows]:
        """Yield some rows, or all, in batches that are cheap to run."""
        yield from self._batches.by_length(batch_size, rows)


def _depth(backbone: nn.Module, member: CohortMember) -> int:
    _, layers = layers_of(backbone)
    return num_frozen(member.params["frozen_layers"], len(layers))


@torch.inference_mode()
def _agrees(
    context: Context,
    files: ModelFiles,
    task: PreparedTask,
    below: Mapping[int, Activations],
    depth: int,
) -> bool:
    """Return whether the cut model gives what the whole one does, seen on a few rows."""
    rows = next(iter(task.batches["test"].by_length(NUM_COMPARED)))
    batch = task.batches["test"].batch(rows)
    whole = last_hidden(warm_model(context, files), batch)
    upper = trainable_copy(context, files)
    cut_below(upper, depth)
    cut = last_hidden(upper.eval(), {**batch, BOUNDARY: below[depth].batch(rows)})
    if "attention_mask" in batch:
        seen = batch["attention_mask"] == 1
        whole, cut = whole[seen], cut[seen]
    return torch.allclose(whole, cut, rtol=TOLERANCE, atol=TOLERANCE)
