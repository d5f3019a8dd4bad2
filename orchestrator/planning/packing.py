"""Packs stages into jobs: chains stay together, cheap ones share a job; knows no sweep."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING

from cluster.job import Resources
from orchestrator.planning.gpu_sharing import gpu_share
from pipelines.contract import digest_of

if TYPE_CHECKING:
    from orchestrator.planning.cohorts import PlannedCohort
    from orchestrator.planning.plan import PlannedStage

TARGET_JOB_S = 1.0
"""Cheap stages are packed into jobs of about this many seconds: long against the millisecond
that handing over a job takes, short against a user's patience."""

COHORT_JOB_S = 3.0
"""A cohort of less than this is not split: another worker takes longer to import its libraries."""

TIMES_WHAT_IS_SHARED = 20.0
"""A job of a long cohort lasts so many times what its members share: short enough that results come
while others are computed, long enough that sharing pays."""

JOBS_PER_SLOT = 4
"""So many jobs are left for each slot, if there is enough work, so that all end together."""


@dataclass(frozen=True, kw_only=True)
class PlannedJob:
    """Stages that one worker runs one after another."""

    id: str
    stages: tuple[str, ...]
    """Digests, inputs first."""
    needs: frozenset[str]
    """Digests of stages in other jobs that must be finished before."""
    resources: Resources
    cost_s: float
    checks_input: bool = False
    """Whether it finds faults in the user's data, and so runs before all others."""


def pack(
    stages: Sequence[PlannedStage],
    cohorts: Iterable[PlannedCohort] = (),
    *,
    resources: Resources,
    num_slots: int,
    gpu_memory_gib: float = 0.0,
) -> tuple[PlannedJob, ...]:
    """Pack stages that must all be computed, inputs first.

    A stage joins the job of its input where it is that stage's only use: nothing is gained by
    moving its data to another process. Chains that need the same inputs and resources are
    then packed together up to :data:`TARGET_JOB_S`. A cohort is split over the slots as far as
    its members cost more than what they share.

    Args:
        stages: The stages.
        cohorts: Which of them are computed together.
        resources: What a trial asks for.
        num_slots: How many trials run at once.
        gpu_memory_gib: The memory of one accelerator, in GiB; 0 where trials do not share one.
    """
    chains = [_job(chain, need_of(chain, resources, gpu_memory_gib)) for chain in _chains(stages)]
    cohort_of = {stage.digest: stage for stage in stages if stage.cohort}
    alike: dict[object, list[PlannedJob]] = defaultdict(list)
    members: dict[str, list[PlannedJob]] = defaultdict(list)
    for chain in chains:
        if chain.stages[0] in cohort_of:
            members[cohort_of[chain.stages[0]].cohort].append(chain)
        else:
            alike[(chain.needs, chain.resources, chain.checks_input)].append(chain)
    together = [
        job
        for cohort in cohorts
        for job in _cohort_jobs(_inseparable(members[cohort.id], cohort_of), cohort, num_slots)
    ]
    enough_s = sum(chain.cost_s for chain in chains) / (JOBS_PER_SLOT * num_slots)
    target_s = min(TARGET_JOB_S, enough_s)
    apart = [_join(batch) for group in alike.values() for batch in _batches(group, target_s)]
    return (*apart, *together)


def need_of(
    stages: Sequence[PlannedStage], resources: Resources, gpu_memory_gib: float
) -> Resources:
    """Return what stages of one job reserve: of an accelerator nothing, the part they need, or all.

    A cohort has all of it: it fills a device by itself, and takes less of it by having fewer
    members.

    Args:
        stages: The stages.
        resources: What a trial asks for.
        gpu_memory_gib: The memory of one accelerator, in GiB; 0 where trials do not share one.
    """
    using = [stage for stage in stages if stage.stage.needs_accelerator]
    if not using:
        return replace(resources, num_gpus=0)
    if resources.num_gpus != 1 or any(stage.cohort for stage in using):
        return resources
    share = max(gpu_share(stage.peak_gpu_memory_gib, gpu_memory_gib) for stage in using)
    return replace(resources, num_gpus=share)


def _inseparable(
    chains: Sequence[PlannedJob], members: Mapping[str, PlannedStage]
) -> list[list[PlannedJob]]:
    """Return the chains of a cohort in groups that stay together where it is split."""
    groups: dict[object, list[PlannedJob]] = defaultdict(list)
    for chain in chains:
        member = members[chain.stages[0]]
        nested = member.stage.cohort.nested_params if member.stage.cohort else frozenset()
        common = {name: value for name, value in member.params.items() if name not in nested}
        groups[chain.needs, digest_of(common) if nested else chain.id].append(chain)
    return list(groups.values())


def _cohort_jobs(
    groups: Sequence[Sequence[PlannedJob]], cohort: PlannedCohort, num_slots: int
) -> list[PlannedJob]:
    """Return the jobs of a cohort: enough for the slots and for memory, each worth its sharing."""
    weights = [sum(chain.cost_s for chain in group) for group in groups]
    num_chains, total_s = sum(map(len, groups)), sum(weights)
    num_parts = min(num_slots, cohort.max_jobs, int(total_s / COHORT_JOB_S))
    target_s = max(COHORT_JOB_S, TIMES_WHAT_IS_SHARED * cohort.fixed_s)
    num_parts = max(1, num_parts, min(int(total_s / target_s), num_chains // 2))
    if cohort.limit is not None:
        num_parts = max(num_parts, ceil(num_chains / cohort.limit))
        weights = [float(len(group)) for group in groups]
    jobs = [_join(part) for part in _parts(groups, weights, num_parts)]
    again_s = cohort.fixed_s * (1 - 1 / len(jobs))  # each job pays for what its members share
    return [replace(job, cost_s=job.cost_s + again_s) for job in jobs]


def _parts(
    groups: Sequence[Sequence[PlannedJob]], weights: Sequence[float], num_parts: int
) -> list[list[PlannedJob]]:
    """Share out groups over parts of about equal weight, none of them empty.

    Those with equal inputs come to as few parts as may be, by their digests otherwise: so each has
    long ones and short ones, whatever the order of the plan, which they keep within a part.
    """
    if num_parts == 1:
        return [[chain for group in groups for chain in group]]
    parts: dict[int, list[int]] = defaultdict(list)
    total, before = sum(weights), 0.0
    for index in sorted(
        range(len(groups)), key=lambda n: (sorted(groups[n][0].needs), groups[n][0].id)
    ):
        parts[int((before + weights[index] / 2) / total * num_parts)].append(index)
        before += weights[index]
    return [[chain for index in sorted(part) for chain in groups[index]] for part in parts.values()]


def _chains(stages: Sequence[PlannedStage]) -> list[list[PlannedStage]]:
    users: dict[str, int] = defaultdict(int)
    for stage in stages:
        for digest in stage.inputs.values():
            users[digest] += 1
    chain_of: dict[str, list[PlannedStage]] = {}
    chains: list[list[PlannedStage]] = []
    for stage in stages:
        home = next(
            (
                chain_of[digest]
                for digest in stage.inputs.values()
                if digest in chain_of
                and users[digest] == 1
                and _may_follow(chain_of[digest], stage)
            ),
            None,
        )
        if home is None:
            home = []
            chains.append(home)
        home.append(stage)
        chain_of[stage.digest] = home
    return chains


def _may_follow(chain: Sequence[PlannedStage], stage: PlannedStage) -> bool:
    """Return whether a stage can run in the chain's job without waiting for another one."""
    inside = {earlier.digest for earlier in chain}
    outside = {digest for earlier in chain for digest in earlier.inputs.values()} - inside
    return (
        not stage.cohort
        and not _is_check(chain[0])
        and set(stage.inputs.values()) - inside <= outside
    )


def _is_check(stage: PlannedStage) -> bool:
    """Return whether a stage can run before all others; a model that is made first cannot."""
    return stage.stage.checks_input and not stage.inputs


def _job(chain: Sequence[PlannedStage], resources: Resources) -> PlannedJob:
    digests = tuple(stage.digest for stage in chain)
    return PlannedJob(
        id=job_id(digests),
        stages=digests,
        needs=frozenset(d for stage in chain for d in stage.inputs.values()) - set(digests),
        resources=resources,
        cost_s=sum(stage.cost_s for stage in chain),
        checks_input=_is_check(chain[0]),
    )


def _batches(group: Sequence[PlannedJob], target_s: float) -> list[list[PlannedJob]]:
    batches: list[list[PlannedJob]] = []
    cost_s = float("inf")
    for job in group:
        if cost_s + job.cost_s > target_s or job.checks_input:
            batches.append([])
            cost_s = 0.0
        batches[-1].append(job)
        cost_s += job.cost_s
    return batches


def _join(jobs: Sequence[PlannedJob]) -> PlannedJob:
    if len(jobs) == 1:
        return jobs[0]
    digests = tuple(digest for job in jobs for digest in job.stages)
    return replace(
        jobs[0],
        id=job_id(digests),
        stages=digests,
        needs=frozenset().union(*(job.needs for job in jobs)),
        resources=max((job.resources for job in jobs), key=lambda need: need.num_gpus),
        cost_s=sum(job.cost_s for job in jobs),
    )


def split(
    job: PlannedJob, unfinished: Mapping[str, PlannedStage], *, keep_cohorts: bool = False
) -> list[PlannedJob]:
    """Return the unfinished chains of a job that broke, each as a job of its own.

    Args:
        job: The job whose worker died.
        unfinished: Its stages that are not done, by digest, inputs first.
        keep_cohorts: Whether those of one cohort stay in one job.
    """
    alike: dict[str, list[PlannedJob]] = defaultdict(list)
    for chain in _chains(list(unfinished.values())):
        cohort = chain[0].cohort if keep_cohorts else ""
        alike[cohort or chain[0].digest].append(_job(chain, job.resources))
    return [_join(chains) for chains in alike.values()]


def without(
    job: PlannedJob, failed: str, stages: Mapping[str, PlannedStage]
) -> tuple[list[str], list[PlannedJob]]:
    """Return what a job loses when a stage that it waits for has failed, and what is left of it.

    Args:
        job: The job.
        failed: The digest of the stage.
        stages: The plan's stages by digest.

    Returns:
        The digests of the stages that cannot be computed, and the jobs of all others.
    """
    lost = {failed}
    for digest in job.stages:
        if not lost.isdisjoint(stages[digest].inputs.values()):
            lost.add(digest)
    rest = [stages[digest] for digest in job.stages if digest not in lost]
    chains = [_job(chain, job.resources) for chain in _chains(rest)]
    return [digest for digest in job.stages if digest in lost], [_join(chains)] if chains else []


def job_id(digests: Sequence[str]) -> str:
    """Return the identity of a job: that of the stages in it, 16 hex digits."""
    return digest_of(list(digests))[:16]
