"""The plan: what will run, merged, known parts marked, packed into jobs. A value; it does nothing.

`fanflare plan` prints this value and `fanflare run` executes this value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cluster.job import Failure, Resources
from orchestrator.errors import Fault, InvalidSweepError
from orchestrator.planning.cohorts import PlannedCohort, plan_cohorts, together
from orchestrator.planning.cost import Timings, cost_keys, kinds_of, makespan_s
from orchestrator.planning.grid import GridPoint
from orchestrator.planning.packing import PlannedJob, pack
from orchestrator.planning.sweep import Sweep
from orchestrator.planning.trial import Trial
from pipelines.contract import Node, Pinned, Stage


@dataclass(frozen=True, kw_only=True)
class PlannedStage:
    """One merged node: computed once, whatever the number of trials that need it."""

    digest: str
    stage: Stage
    params: Mapping[str, Any]
    sources: Mapping[str, Pinned]
    inputs: Mapping[str, str]
    """The digests of earlier stages by role."""
    cohort: str = ""
    """What it has in common with those with which it is computed together; empty if alone."""
    spare_cpus: int = 0
    """Idle cores that it may use besides those of a trial; known when it starts."""
    num_trials: int
    """How many trials of this sweep need it."""
    cost_keys: tuple[str, ...]
    cost_s: float
    """Estimated seconds: recorded, or else what the stage declares as typical."""
    peak_memory_gib: float | None = None
    """The most host memory that such a stage was seen to take alone, in GiB."""
    peak_gpu_memory_gib: float | None = None
    """The most memory of an accelerator, likewise."""
    keep: frozenset[str] = frozenset()
    """What is to be kept besides the result."""

    @property
    def scales(self) -> bool:
        """Whether it is faster the more cores it has, alone or as a member of its cohort."""
        if self.cohort and self.stage.cohort is not None:
            return self.stage.scales or self.stage.cohort.scales
        return self.stage.scales


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """How long the plan will take, by the timings recorded in the store."""

    compute_s: float
    """Seconds of all jobs, one after another."""
    wall_s: float
    """Seconds on the slots that are there."""
    share_recorded: float
    """The part of `compute_s` that rests on recorded timings, from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sweep comes to, given what the store already has."""

    sweep: Sweep
    trials: tuple[Trial, ...]
    stages: Mapping[str, PlannedStage]
    """All merged stages by digest, inputs before what needs them."""
    known: frozenset[str]
    """Digests that the store already has."""
    jobs: tuple[PlannedJob, ...]
    cohorts: tuple[PlannedCohort, ...]
    """Stages that are computed together."""
    estimate: Estimate | None
    """None until a timing of one of these stages is recorded."""
    skipped: Mapping[str, Failure] = field(default_factory=dict)
    """Why stages failed before, by digest, that are not to be tried again."""
    gpu_memory_gib: float = 0.0
    """Memory of one accelerator that trials share, in GiB; 0 where they share none."""

    @property
    def num_unmerged_stages(self) -> int:
        """How many stages there would be if no trial shared any."""
        return sum(len(trial.stages) for trial in self.trials)

    @property
    def stage_names(self) -> list[str]:
        """The names of its stages, each once, in the order in which a trial goes through them."""
        depths: dict[str, int] = {}
        for digest, stage in self.stages.items():
            depths[digest] = 1 + max((depths[d] for d in stage.inputs.values()), default=0)
        names: dict[str, int] = {}
        for digest, stage in self.stages.items():
            names[stage.stage.name] = max(names.get(stage.stage.name, 0), depths[digest])
        return sorted(names, key=lambda name: names[name])

    def is_known(self, trial: Trial) -> bool:
        """Return whether the store already has a trial's result."""
        return trial.result_digest in self.known

    def skipped_for(self, trial: Trial) -> Failure | None:
        """Return the earlier failure for which a trial is not tried again, or None."""
        if self.is_known(trial):
            return None
        return next((self.skipped[d] for d in trial.stages if d in self.skipped), None)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the plan depends on besides the sweep."""

    known: frozenset[str] = frozenset()
    """Digests that the store has."""
    skipped: Mapping[str, Failure] = field(default_factory=dict)
    """Why stages failed, by digest, that are not to be tried again."""
    timings: Timings = field(default_factory=Timings)
    capacity: Resources = field(default_factory=Resources)
    gpu_memory_gib: float = 0.0
    """Memory of one accelerator, in GiB; 0 where unknown."""


def merge(points: Sequence[GridPoint]) -> tuple[tuple[Trial, ...], dict[str, Node]]:
    """Merge equal nodes; return the trials and the nodes by digest, inputs first.

    A merged node keeps all that any trial wants of it.
    Trials that two mappings of a space both ask for are one trial.

    Raises:
        InvalidSweepError: Two different points of the space give the same computation.
    """
    nodes: dict[str, Node] = {}
    trials: dict[str, Trial] = {}
    for point in points:
        digests = tuple(_visit(point.last, nodes))
        trial = Trial(
            id=point.last.digest[:16],
            model=point.model,
            task=point.task,
            params=point.params,
            seed=point.seed,
            metric=point.metric,
            mode=point.mode,
            result_digest=point.last.digest,
            stages=tuple(dict.fromkeys(digests)),
        )
        other = trials.setdefault(trial.id, trial)
        if other != trial:
            raise InvalidSweepError([Fault(message=_same_computation(trial, other), key="space")])
    return tuple(trials.values()), nodes


def _same_computation(trial: Trial, other: Trial) -> str:
    return (
        f"seed {trial.seed} of {dict(trial.params)} and seed {other.seed} of {dict(other.params)} "
        f"are the same computation on {trial.task or 'the same input'}: the pipeline leaves out "
        "a param or the seed"
    )


def _visit(node: Node, nodes: dict[str, Node]) -> Iterator[str]:
    for earlier in node.inputs.values():
        yield from _visit(earlier, nodes)
    known = nodes.setdefault(node.digest, node)
    if not node.keep <= known.keep:
        nodes[node.digest] = replace(known, keep=known.keep | node.keep)
    yield node.digest


def make_plan(
    sweep: Sweep, trials: Sequence[Trial], nodes: Mapping[str, Node], setting: Setting
) -> Plan:
    """Mark what is known, estimate costs, and pack the rest into jobs."""
    counts = dict.fromkeys(nodes, 0)
    for trial in trials:
        for digest in trial.stages:
            counts[digest] += 1
    accelerator = _accelerator(sweep, setting)
    if accelerator:
        nodes = {digest: node.on(has_accelerator=True) for digest, node in nodes.items()}
    kinds = kinds_of(nodes)
    keys = {kinds[digest]: cost_keys(n, kinds[digest], accelerator) for digest, n in nodes.items()}
    stages = {
        digest: planned_stage(node, counts[digest], keys[kinds[digest]], setting.timings)
        for digest, node in nodes.items()
    }
    needed = _needed(trials, stages, setting.known, setting.skipped)
    cohorts: tuple[PlannedCohort, ...] = ()
    if sweep.sharing == "on":
        cohorts = plan_cohorts([stages[digest] for digest in needed], nodes, setting.timings)
        stages = together(stages, cohorts)
    shares_gpus = sweep.sharing == "on" and sweep.resources.share_gpus
    gpu_memory_gib = setting.gpu_memory_gib if shares_gpus else 0.0
    slots = num_slots(sweep, setting.capacity)
    jobs = pack(
        [stages[digest] for digest in needed],
        cohorts,
        resources=sweep.resources.unshared(),
        num_slots=slots,
        gpu_memory_gib=gpu_memory_gib,
    )
    return Plan(
        sweep=sweep,
        trials=tuple(trials),
        stages=stages,
        known=setting.known,
        jobs=jobs,
        cohorts=cohorts,
        estimate=_estimate(jobs, stages, cohorts, setting.timings, _wall_s(jobs, sweep, slots)),
        skipped=setting.skipped,
        gpu_memory_gib=gpu_memory_gib,
    )


def num_slots(sweep: Sweep, capacity: Resources) -> int:
    """Return how many trials run at once on a capacity, none sharing an accelerator, at least 1."""
    slots = int(sweep.resources.unshared().times_in(capacity))
    return max(1, min(slots, sweep.max_concurrent or slots))


def _accelerator(sweep: Sweep, setting: Setting) -> str:
    """Return the kind of accelerator that trials have, by its memory; empty without one."""
    if not sweep.resources.num_gpus:
        return ""
    memory_gib = setting.gpu_memory_gib
    return f"a GPU of {memory_gib:.0f} GiB" if memory_gib else "a GPU"


def planned_stage(
    node: Node, num_trials: int, keys: tuple[str, ...] = (), timings: Timings | None = None
) -> PlannedStage:
    """Return a node as a worker gets it, with what is known of its cost under some keys."""
    timings = timings or Timings()
    recorded_s = timings.estimate_s(keys)
    return PlannedStage(
        digest=node.digest,
        stage=node.stage,
        params=node.params,
        sources=node.sources,
        inputs={role: earlier.digest for role, earlier in node.inputs.items()},
        keep=node.keep,
        cohort="",
        num_trials=num_trials,
        cost_keys=keys,
        cost_s=node.stage.typical_s if recorded_s is None else recorded_s,
        peak_memory_gib=timings.peak_memory_gib(keys),
        peak_gpu_memory_gib=timings.peak_gpu_memory_gib(keys),
    )


def _needed(
    trials: Sequence[Trial],
    stages: Mapping[str, PlannedStage],
    known: frozenset[str],
    skipped: Mapping[str, Failure],
) -> list[str]:
    """Return the digests to compute, inputs first: unknown, and wanted by an unfinished trial."""
    wanted = {
        trial.result_digest
        for trial in trials
        if trial.result_digest not in known and skipped.keys().isdisjoint(trial.stages)
    }
    for digest in reversed(list(stages)):
        if digest in wanted:
            wanted.update(set(stages[digest].inputs.values()) - known)
    return [digest for digest in stages if digest in wanted]


def _estimate(
    jobs: Sequence[PlannedJob],
    stages: Mapping[str, PlannedStage],
    cohorts: Sequence[PlannedCohort],
    timings: Timings,
    wall_s: float,
) -> Estimate | None:
    if not timings.means:
        return None
    together = {digest for c in cohorts if c.is_recorded for digest in c.stages}
    costs = {digest: stages[digest].cost_s for job in jobs for digest in job.stages}
    recorded_s = sum(
        cost_s
        for digest, cost_s in costs.items()
        if digest in together or timings.estimate_s(stages[digest].cost_keys) is not None
    )
    stages_s = sum(costs.values())
    return Estimate(
        compute_s=sum(job.cost_s for job in jobs),
        wall_s=wall_s,
        share_recorded=recorded_s / stages_s if stages_s else 1.0,
    )


def _wall_s(jobs: Sequence[PlannedJob], sweep: Sweep, num_slots: int) -> float:
    """Return how long jobs take; one that shares an accelerator takes up its part of a slot."""
    whole = sweep.resources.num_gpus
    parts = [job.resources.num_gpus / whole if whole else 1.0 for job in jobs]
    slots_s = [job.cost_s * (part or 1.0) for job, part in zip(jobs, parts, strict=True)]
    return max(makespan_s(slots_s, num_slots), max((job.cost_s for job in jobs), default=0.0))
