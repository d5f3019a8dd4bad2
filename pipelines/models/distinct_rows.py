"""Goes through the rows of several splits so that each distinct one comes once; runs no model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

import numpy as np
from torch import Tensor

from pipelines.training.learner import Rows


class Inputs(Protocol):
    """Rows of a split as the model takes them."""

    def batch(self, rows: Rows) -> dict[str, Tensor]:
        """Return the model's inputs for some rows."""

    def keys(self) -> list[bytes]:
        """Return for each row what the model sees of it."""

    def by_length(self, batch_size: int, rows: Rows | None = None) -> Iterable[Rows]:
        """Yield some rows, or all, in batches that are cheap to run."""


Split = TypeVar("Split", bound=Inputs)


def distinct_batches(
    splits: Sequence[Split], batch_size: int
) -> Iterator[tuple[Split, Rows, list[bytes]]]:
    """Yield batches in which every distinct row of all splits comes once, large splits first.

    Args:
        splits: The rows.
        batch_size: Rows in one batch.

    Yields:
        A split, rows of it, and the keys of these rows.
    """
    seen: set[bytes] = set()
    for split, own in sorted(
        ((split, split.keys()) for split in splits), key=lambda pair: -len(pair[1])
    ):
        first = {key: row for row, key in reversed(list(enumerate(own))) if key not in seen}
        seen |= first.keys()
        for rows in split.by_length(batch_size, np.array(sorted(first.values()), dtype=np.int64)):
            yield split, rows, [own[row] for row in rows]
