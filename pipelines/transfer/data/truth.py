"""What is to be predicted in a split: one label a row, or one for every word of a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipelines.contract import Artifact
from pipelines.models.token_batches import ragged
from pipelines.training.learner import Rows

LOST = -1
"""In `first_tokens`: the word has no token, as it was cut off or is nothing to the tokenizer."""


class WordSpans:
    """Which words are whose: those of each sentence follow those of the sentence before.

    Args:
        counts: How many words each sentence has, `(sentences,)`.
    """

    def __init__(self, counts: np.ndarray) -> None:
        self.counts = counts
        self._starts = np.cumsum(counts) - counts

    def __len__(self) -> int:
        return len(self.counts)

    def places(self, sentences: Rows) -> Rows:
        """Return the numbers of the words of some sentences, in the order of `sentences`."""
        counts = self.counts[sentences]
        before = np.cumsum(counts) - counts
        shift: Rows = np.repeat(self._starts[sentences] - before, counts)
        return shift + np.arange(len(shift))


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The labels of a split, and where they stand."""

    rows: np.ndarray
    """The row of each label, `(labels,)`."""
    labels: np.ndarray
    """Numbers of classes or real numbers, `(labels,)`."""
    positions: np.ndarray | None = None
    """Which word of its row each label is of, `(labels,)`; None where a row has one label."""
    kept: np.ndarray | None = None
    """Which of the labels have a token to be predicted from, `(outputs,)`; None for all."""

    @property
    def targets(self) -> np.ndarray:
        """The labels that a model can learn, `(outputs,)`."""
        return self.labels if self.kept is None else self.labels[self.kept]

    def spans(self) -> WordSpans | None:
        """Return which of the targets belong together; None where a row has one label."""
        if self.kept is None:
            return None
        rows = self.rows[self.kept]
        ends = np.flatnonzero(np.diff(rows, append=-1))
        return WordSpans(np.diff(ends, prepend=-1))

    def arrays(self, split: str) -> Mapping[str, np.ndarray]:
        """Return what :func:`kept_truth` reads again."""
        found = {part: getattr(self, part) for part in (*_PARTS, *_WORD_PARTS)}
        return {f"{split}/{part}": array for part, array in found.items() if array is not None}


_PARTS = ("labels", "rows")
_WORD_PARTS = ("positions", "kept")


def truth_of(table: pa.Table) -> Truth:
    """Return the truth of a table of the stage `tokenize`."""
    rows = table["row"].to_numpy()
    if "first_tokens" not in table.column_names:
        return Truth(rows=rows, labels=table["label"].to_numpy())
    labels, offsets = ragged(table["labels"])
    firsts, _ = ragged(table["first_tokens"])
    counts = np.diff(offsets)
    return Truth(
        rows=np.repeat(rows, counts),
        labels=labels,
        positions=np.arange(len(labels)) - np.repeat(offsets[:-1] - offsets[0], counts),
        kept=np.flatnonzero(firsts != LOST),
    )


def kept_truth(features: Artifact, split: str) -> Truth:
    """Return the truth that the stage `encode` left beside its features."""
    parts = (*_PARTS, *_WORD_PARTS) if "num_lost" in features.value else _PARTS
    return Truth(**{part: features.array(f"{split}/{part}") for part in parts})
