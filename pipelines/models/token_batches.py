"""Tokenised texts as the inputs of a model, a padded batch at a time; knows no labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pipelines.training.learner import Rows


class TokenBatches:
    """Tokenised texts, padded a batch at a time to the longest in it.

    Args:
        table: Columns `input_ids`, and `token_type_ids` where the model has them: lists of ints.
        pad_id: The padding token.
        device: Where batches go.
    """

    def __init__(self, table: pa.Table, pad_id: int, device: str) -> None:
        self._columns = {
            name: ragged(table[name])
            for name in ("input_ids", "token_type_ids")
            if name in table.column_names
        }
        self._pad_id = pad_id
        self._device = device
        self.lengths = np.diff(self._columns["input_ids"][1])

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def num_outputs(self) -> int:
        """How many things there are to predict: one a text."""
        return len(self)

    def places(self, rows: Rows) -> Rows:
        """Return the numbers of what a batch of rows gives outputs for."""
        return rows

    def batch(self, rows: Rows) -> dict[str, Tensor]:
        """Return the model's inputs for some rows, each `(batch, longest)`."""
        longest = int(self.lengths[rows].max())
        inputs = {}
        for name, (values, offsets) in self._columns.items():
            fill = self._pad_id if name == "input_ids" else 0
            padded = np.full((len(rows), longest), fill, dtype=np.int64)
            for index, row in enumerate(rows):
                ids = values[offsets[row] : offsets[row + 1]]
                padded[index, : len(ids)] = ids
            inputs[name] = torch.from_numpy(padded).to(self._device)
        mask = np.arange(longest) < self.lengths[rows, None]
        inputs["attention_mask"] = torch.from_numpy(mask.astype(np.int64)).to(self._device)
        return inputs

    def keys(self) -> list[bytes]:
        """Return for each row what the model sees of it: equal rows give equal features."""
        return [
            b"/".join(values[o[row] : o[row + 1]].tobytes() for values, o in self._columns.values())
            for row in range(len(self))
        ]

    def by_length(self, batch_size: int, rows: Rows | None = None) -> Iterator[Rows]:
        """Yield some rows, or all, in batches of like length, so that little is padded."""
        rows = np.arange(len(self)) if rows is None else rows
        order = rows[np.argsort(self.lengths[rows], kind="stable")]
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size]


def ragged(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of all lists of a column, and where each list begins and the last ends."""
    lists = column.combine_chunks()
    return lists.values.to_numpy(), lists.offsets.to_numpy()
