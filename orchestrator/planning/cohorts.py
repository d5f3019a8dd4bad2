"""Which stages are computed together, where that pays; knows the costs, runs nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.planning.cost import Timings, cohort_keys, cohort_sizes
from pipelines.contract import Cohort, Node

if TYPE_CHECKING:
    from orchestrator.planning.plan import PlannedStage


@dataclass(frozen=True, kw_only=True)
class PlannedCohort:
    """Stages that are computed together, and what that is expected to save."""

    id: str
    """What the stages have in common: `Node.cohort_digest`, and how deep in the graph they are."""
    stages: tuple[str, ...]
    """Their digests."""
    sharing: Cohort
    alone_s: float
    """Estimated seconds of all of them, each alone."""
    together_s: float
    """Estimated seconds of all of them in one job."""
    is_recorded: bool
    """Whether the estimates rest on recorded timings."""
    limit: int | None
    """How many of them fit into memory at once, where that was found out."""
    peak_memory_gib: float | None = None
    """The most host memory that such a cohort was seen to take, in GiB."""
    peak_gpu_memory_gib: float | None = None
    """The most memory of an accelerator, likewise."""
    alone_memory_gib: float | None = None
    """The most host memory that one of its stages was seen to take alone, in GiB."""
    alone_gpu_memory_gib: float | None = None
    """The most memory of an accelerator, likewise."""

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
        return max(1, int(own_s / self.fixed_s)) if self.fixed_s else len(self.stages)


def plan_cohorts(
    needed: Sequence[PlannedStage], nodes: Mapping[str, Node], timings: Timings
) -> tuple[PlannedCohort, ...]:
    """Return the cohorts among stages that must be computed, those that pay only.

    Args:
        needed: The stages, inputs first.
        nodes: All nodes by digest, inputs first, as they are computed on the trials' devices.
        timings: What is known of their cost.
    """
    depths: dict[str, int] = {}
    for digest, node in nodes.items():
        earlier = (depths[each.digest] for each in node.inputs.values())
        depths[digest] = 1 + max(earlier, default=0)
    alike: dict[str, list[PlannedStage]] = defaultdict(list)
    for stage in needed:
        if stage.stage.cohort is not None and not timings.is_left(stage.cost_keys):
            # Stages of one depth never wait for each other, nor do the jobs that begin with them.
            common = f"{nodes[stage.digest].cohort_digest}/{depths[stage.digest]}"
            alike[common].append(stage)
    cohorts = (_cohort(common, stages, timings) for common, stages in alike.items())
    return tuple(cohort for cohort in cohorts if cohort.is_worth_it)


def _cohort(common: str, stages: Sequence[PlannedStage], timings: Timings) -> PlannedCohort:
    sharing = stages[0].stage.cohort
    assert sharing is not None
    different = {stage.cost_keys: stage for stage in stages}.values()
    known = {s.cost_keys: _costs(s, sharing, len(stages), timings) for s in different}
    costs = [known[stage.cost_keys] for stage in stages]
    sizes = cohort_sizes(len(stages))
    keys = [cohort_keys(stages[0].cost_keys, size) for size in sizes]
    return PlannedCohort(
        id=common,
        stages=tuple(stage.digest for stage in stages),
        sharing=sharing,
        alone_s=sum(alone_s for alone_s, _, _ in costs),
        together_s=sum(together_s for _, together_s, _ in costs),
        is_recorded=all(is_recorded for _, _, is_recorded in costs),
        limit=timings.limit(stages[0].cost_keys),
        peak_memory_gib=_first(map(timings.peak_memory_gib, keys)),
        peak_gpu_memory_gib=_first(map(timings.peak_gpu_memory_gib, keys)),
        alone_memory_gib=_most(stage.peak_memory_gib for stage in stages),
        alone_gpu_memory_gib=_most(stage.peak_gpu_memory_gib for stage in stages),
    )


def _first(found: Iterable[float | None]) -> float | None:
    return next((gib for gib in found if gib is not None), None)


def _most(found: Iterable[float | None]) -> float | None:
    return max((gib for gib in found if gib is not None), default=None)


def _costs(
    stage: PlannedStage, sharing: Cohort, num_members: int, timings: Timings
) -> tuple[float, float, bool]:
    """Return the seconds of a stage alone and as a member, and whether either was recorded.

    Both are believed where they are of this very kind: others may be of smaller data, or of params
    that take another time. Else one of them tells the other by what the stage declares, as does a
    cohort of another size.
    """

    def part(size: int) -> float:
        return sharing.fixed_cost / size + sharing.member_cost

    def together_s(key: str) -> float | None:
        for size in cohort_sizes(num_members):
            seconds = timings.estimate_s(cohort_keys([key], size))
            if seconds is not None:
                return seconds * part(num_members) / part(size)
        return None

    found = [(timings.estimate_s([key]), together_s(key)) for key in stage.cost_keys]
    alone, together = found[0]
    if alone is not None and together is not None:
        return alone, together, True
    for alone, together in found:
        if alone is not None:
            return alone, alone * part(num_members), True
        if together is not None:
            return together / part(num_members), together, True
    return stage.cost_s, stage.cost_s * part(num_members), False


def together(
    stages: Mapping[str, PlannedStage], cohorts: Iterable[PlannedCohort]
) -> dict[str, PlannedStage]:
    """Return the stages, those of cohorts marked and with their part of the cost."""
    marked = dict(stages)
    for cohort in cohorts:
        members = [stages[digest] for digest in cohort.stages]
        share = cohort.together_s / (sum(stage.cost_s for stage in members) or 1.0)
        for digest, stage in zip(cohort.stages, members, strict=True):
            marked[digest] = replace(stage, cohort=cohort.id, cost_s=stage.cost_s * share)
    return marked
