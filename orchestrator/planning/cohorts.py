"""Which stages are computed together, where that pays; knows the costs, runs nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.planning.cost import Timings, cohort_keys
from pipelines.contract import Cohort, Node

if TYPE_CHECKING:
    from orchestrator.planning.plan import PlannedStage


@dataclass(frozen=True, kw_only=True)
class PlannedCohort:
    """Stages that are computed together, and what that is expected to save."""

    id: str
    """What the stages have in common, as `Node.cohort_digest`."""
    stages: tuple[str, ...]
    """Their digests."""
    sharing: Cohort
    alone_s: float
    """Estimated seconds of all of them, each alone."""
    together_s: float
    """Estimated seconds of all of them in one job."""
    limit: int | None
    """How many of them fit into memory at once, where that was found out."""

    @property
    def is_worth_it(self) -> bool:
        """Return whether computing them together is expected to be faster."""
        return len(self.stages) > 1 and self.together_s < self.alone_s and self.limit != 1

    @property
    def fixed_s(self) -> float:
        """Estimated seconds that every job of this cohort takes besides its members."""
        return self.sharing.fixed_cost * self.alone_s / len(self.stages)

    @property
    def max_jobs(self) -> int:
        """Into how many jobs it may be split before what is shared costs more than the rest."""
        own_s = self.together_s - self.fixed_s
        return max(1, min(len(self.stages), int(own_s / self.fixed_s) if self.fixed_s else 1_000))


def plan_cohorts(
    needed: Sequence[PlannedStage], nodes: Mapping[str, Node], timings: Timings
) -> tuple[PlannedCohort, ...]:
    """Return the cohorts among stages that must be computed, those that pay only."""
    alike: dict[str, list[PlannedStage]] = defaultdict(list)
    for stage in needed:
        if common := nodes[stage.digest].cohort_digest:
            alike[common].append(stage)
    cohorts = (_cohort(common, stages, timings) for common, stages in alike.items())
    return tuple(cohort for cohort in cohorts if cohort.is_worth_it)


def _cohort(common: str, stages: Sequence[PlannedStage], timings: Timings) -> PlannedCohort:
    sharing = stages[0].stage.cohort
    assert sharing is not None
    alone_s = sum(stage.cost_s for stage in stages)
    recorded = [timings.estimate_s(cohort_keys(s.cost_keys, len(stages))) for s in stages]
    own_s = [
        stage.cost_s * (sharing.fixed_cost / len(stages) + sharing.member_cost)
        if seconds is None
        else seconds
        for stage, seconds in zip(stages, recorded, strict=True)
    ]
    return PlannedCohort(
        id=common,
        stages=tuple(stage.digest for stage in stages),
        sharing=sharing,
        alone_s=alone_s,
        together_s=sum(own_s),
        limit=timings.limit(stages[0].cost_keys),
    )


def together(
    stages: Mapping[str, PlannedStage], cohorts: Iterable[PlannedCohort]
) -> dict[str, PlannedStage]:
    """Return the stages, those of cohorts marked and with their part of the cost."""
    marked = dict(stages)
    for cohort in cohorts:
        for digest in cohort.stages:
            share = cohort.together_s / cohort.alone_s
            stage = stages[digest]
            marked[digest] = replace(stage, cohort=cohort.id, cost_s=stage.cost_s * share)
    return marked
