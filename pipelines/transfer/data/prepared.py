"""What preparing a task for a model left behind, as batches; whatever the kind of the task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from torch import Tensor

from pipelines.contract import Artifact
from pipelines.training.learner import Rows
from pipelines.transfer.data.pixels import PixelBatches
from pipelines.transfer.data.word_tokens import token_batches

PREPARED = "prepared"
"""The role of the artifact of `tokenize` or `preprocess` among a stage's inputs."""


class Batches(Protocol):
    """The inputs of a model for the rows of one split, a batch at a time."""

    def __len__(self) -> int:
        """Return the number of rows."""

    @property
    def num_outputs(self) -> int:
        """How many things there are to predict."""

    def places(self, rows: Rows) -> Rows:
        """Return the numbers of what a batch of rows gives outputs for."""

    def batch(self, rows: Rows) -> dict[str, Tensor]:
        """Return the model's inputs for some rows."""

    def keys(self) -> list[bytes]:
        """Return for each row what the model sees of it: equal rows give equal features."""

    def by_length(self, batch_size: int, rows: Rows | None = None) -> Iterator[Rows]:
        """Yield some rows, or all, in batches that are cheap to run."""


def batches_of(prepared: Artifact, split: str, device: str) -> Batches:
    """Return the batches of a split."""
    if "shape" in prepared.value:
        return PixelBatches(prepared, split, device)
    return token_batches(prepared.table(split), prepared.value["pad_id"], device)
