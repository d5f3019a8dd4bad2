"""The contract of code that computes many nodes together; knows neither who picks them nor why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipelines.contract import Artifact, Context, Member, PipelineError, StageResult


@dataclass(frozen=True, kw_only=True)
class CohortMember:
    """One node of a cohort: what its stage function would be given alone."""

    params: Member
    inputs: Mapping[str, Artifact]
    sources: Mapping[str, Any]
    keep: frozenset[str] = frozenset()
    """The extras that are wanted of it."""


Finished = Mapping[int, StageResult | PipelineError]
"""Members that have ended, by position, each with its result or with why it has none."""


class CohortFunction(Protocol):
    """The code that computes the members of a cohort together.

    It gives results as they come, so that what is finished is kept whatever happens to the rest.
    Members that are given at once have cost the same, and all members what was done before nothing
    was given: an empty mapping. One that fails by itself, as by a loss that
    is not finite, leaves the others untouched; those that are never given are computed alone.
    """

    def __call__(self, context: Context, members: Sequence[CohortMember]) -> Iterator[Finished]:
        """Compute the results of all members."""
