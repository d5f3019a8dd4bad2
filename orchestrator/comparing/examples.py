"""Scores of single test examples, read once and only when asked for; knows no store.

Who reads them is given from outside: a report that was made without a reader has none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from orchestrator.planning.trial import TrialResult
from pipelines.example_scores import ExampleScores

if TYPE_CHECKING:
    import numpy as np

ReadExamples = Callable[[TrialResult], ExampleScores | None]
"""Returns the scores of a finished trial's test examples; None where it has none."""

NUM_BLOCKS = 200
"""Into so many blocks of neighbours examples are put where most have scores all of their own. What
is drawn 10,000 times are blocks then, in a fraction of the time; a standard error from 200 of them
is good to a twentieth."""

MAX_LEVELS = 64
"""Distinct examples up to which no blocks are made: those are drawn by their counts, however
many."""


class Examples:
    """The scores of test examples by config and seed.

    Args:
        results: All results of the report.
        read: Reads those of one trial; None where nobody can.
    """

    def __init__(self, results: Sequence[TrialResult], read: ReadExamples | None) -> None:
        self._results = {(r.trial.config_id, r.trial.seed): r for r in results} if read else {}
        self._read = read
        self._known: dict[tuple[str, int], ExampleScores | None] = {}

    def of(self, config_ids: Sequence[str], seeds: Sequence[int]) -> list[np.ndarray] | None:
        """Return the scores of configs on the same examples, each `(seeds, examples)`.

        Returns:
            None where one of the trials has none, or where they are of different examples.
        """
        found: list[list[ExampleScores]] = []
        for config_id in config_ids:
            row = [self._of(config_id, seed) for seed in seeds]
            found.append([scores for scores in row if scores is not None])
        flat = [scores for row in found for scores in row]
        if not flat or len(flat) < len(config_ids) * len(seeds):
            return None
        if any(scores.examples != flat[0].examples for scores in flat):
            return None
        import numpy as np  # noqa: PLC0415 - numpy is not needed to plan

        return [np.stack([scores.scores for scores in row]) for row in found]

    def _of(self, config_id: str, seed: int) -> ExampleScores | None:
        key = config_id, seed
        if key not in self._known:
            result = self._results.get(key)
            self._known[key] = self._read(result) if self._read and result else None
        return self._known[key]


def in_blocks(scores: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return scores `(seeds, examples)` as `(seeds, blocks)` where there are many, means unchanged.

    A block's score is its sum, scaled so that the mean over blocks is that over examples.
    """
    import numpy as np  # noqa: PLC0415

    num_examples = scores[0].shape[1]
    distinct = np.unique(np.concatenate(scores), axis=1)
    if num_examples <= NUM_BLOCKS or distinct.shape[1] <= MAX_LEVELS:
        return list(scores)
    starts = np.linspace(0, num_examples, NUM_BLOCKS, endpoint=False).astype(int)
    scale = NUM_BLOCKS / num_examples
    return [np.add.reduceat(part, starts, axis=1) * scale for part in scores]
