"""What a pipeline offers whose trials have a score for each test example; computes none.

A pipeline is such a one if it has what :class:`ScoresExamples` names; nothing is registered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pipelines.contract import Artifact, Member

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class ExampleScores:
    """What each example of a split adds to a metric, such that its mean is the metric."""

    examples: str
    """A digest of the examples and their labels: only scores of equal ones can be paired."""
    scores: np.ndarray
    """`(examples,)`, in the metric's unit."""


class ExampleScoresFunction(Protocol):
    """The code that finds them."""

    def __call__(
        self, metric: str, split: str, member: Member, inputs: Mapping[str, Artifact]
    ) -> ExampleScores | None:
        """Return the scores of a split, or None where the metric has none.

        Args:
            metric: The metric that ranks.
            split: `validation` or `test`.
            member: The params of the trial's last stage.
            inputs: The artifacts that this stage has read, by role.
        """


@runtime_checkable
class ScoresExamples(Protocol):
    """A pipeline whose trials keep predictions from which examples can be scored."""

    example_scores: str
    """`module:function` of an :class:`ExampleScoresFunction`, imported late."""
