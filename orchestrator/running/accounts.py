"""Sums up what a sweep took and what sharing saved, from its journal; measures nothing.

What a stage took is what its own execution took; what sharing saved is what the same trials would
have taken one by one, less that. Two things share: equal stages of several trials, which are
computed once, and cohorts, whose members are computed in one call.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from cluster.job import State
from orchestrator.planning.cost import kinds_of
from orchestrator.planning.trial import TrialResult
from orchestrator.running.journal import Event
from orchestrator.running.power import emissions_kg, largest, total
from pipelines.contract import Node


@dataclass(frozen=True, kw_only=True)
class Shared:
    """A kind of stage that several trials of a task shared."""

    kind: str
    """`merged`: equal stages, computed once; `together`: different ones, in one call."""
    stage: str
    task: str
    """The task's name; empty where the stage is of several tasks, or of none."""
    num_members: int
    """Stages that trials asked for."""
    num_jobs: int
    """Times that something was computed for them."""
    saved_s: float
    """Seconds of compute; negative where sharing was slower."""
    saved_energy_kwh: float | None
    is_recorded: bool
    """Whether it rests on timings; if not, on what the stage declares a member to cost."""

    @property
    def num_saved(self) -> int:
        """How many executions were saved."""
        return self.num_members - self.num_jobs


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """What a sweep took over all its runs, and what sharing saved; None where not recorded."""

    wall_s: float
    """Seconds on the clock in which a run of the sweep was under way."""
    compute_s: float
    """Seconds of all stages that were computed, one after another, failed ones included."""
    cpu_s: float | None
    gpu_s: float | None
    peak_memory_gib: float | None
    peak_gpu_memory_gib: float | None
    energy_kwh: float | None
    emissions_kg: float | None
    num_saved: int
    """Executions of stages."""
    saved_s: float
    """Seconds of compute."""
    saved_energy_kwh: float | None
    saved_emissions_kg: float | None
    region: str | None

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the keys are documented in docs/json.md."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class _Execution:
    """One time that a stage was computed, as the journal tells it."""

    digest: str
    duration_s: float
    cohort_size: int
    used: Mapping[str, float]

    def energy_kwh(self, seconds: float) -> float | None:
        """Return the energy of so many seconds of the same work."""
        own = self.used.get("energy_kwh")
        return None if own is None or not self.duration_s else own * seconds / self.duration_s


def accounts(events: Sequence[Event], shared: Iterable[Shared], region: str | None) -> Accounts:
    """Return the accounts of a sweep.

    Args:
        events: Its journal.
        shared: What :func:`shared_work` found in it.
        region: The country whose electricity it used, or None.
    """
    executions = _executions(events)
    shared = list(shared)
    used = [execution.used for execution in executions]
    energy_kwh = total(part.get("energy_kwh") for part in used)
    saved_kwh = total(item.saved_energy_kwh for item in shared)
    failed_s = [e.detail.get("duration_s", 0.0) for e in events if e.kind == "stage_failed"]
    return Accounts(
        wall_s=sum(ended - started for started, ended in runs(events)),
        compute_s=sum(execution.duration_s for execution in executions) + sum(failed_s),
        cpu_s=total(part.get("cpu_s") for part in used),
        gpu_s=total(part.get("gpu_s") for part in used),
        peak_memory_gib=largest(part.get("peak_memory_gib") for part in used),
        peak_gpu_memory_gib=largest(part.get("peak_gpu_memory_gib") for part in used),
        energy_kwh=energy_kwh,
        emissions_kg=emissions_kg(energy_kwh, region),
        num_saved=sum(item.num_saved for item in shared),
        saved_s=sum(item.saved_s for item in shared),
        saved_energy_kwh=saved_kwh,
        saved_emissions_kg=emissions_kg(saved_kwh, region),
        region=region,
    )


def runs(events: Iterable[Event]) -> list[tuple[float, float]]:
    """Return when each run of a sweep began and ended, or was last heard of, in Unix seconds."""
    found: list[tuple[float, float]] = []
    for event in events:
        if event.kind == "sweep_started":
            found.append((event.time, event.time))
        elif found:
            started, ended = found[-1]
            found[-1] = started, max(ended, event.time)
    return found


def shared_work(
    events: Iterable[Event], nodes: Mapping[str, Node], results: Iterable[TrialResult]
) -> list[Shared]:
    """Return what the finished trials of a sweep have shared, in the order of its stages.

    Args:
        events: The sweep's journal. What an earlier sweep has left in the store is not in it, and
            counts as nobody's saving.
        nodes: The merged nodes by digest, inputs first.
        results: The results of its trials.
    """
    last = {e.digest: e for e in _executions(events) if e.digest in nodes}
    users: Counter[str] = Counter()
    tasks: dict[str, set[str]] = defaultdict(set)
    for result in results:
        if result.state is State.FINISHED:
            users.update(result.trial.stages)
            for digest in result.trial.stages:
                tasks[digest].add(result.trial.task)
    merged: dict[tuple[str, str], list[_Execution]] = defaultdict(list)
    together: dict[tuple[str, str], list[_Execution]] = defaultdict(list)
    for digest in nodes:
        if digest not in last:
            continue
        task = next(iter(tasks[digest])) if len(tasks[digest]) == 1 else ""
        key = nodes[digest].stage.name, task
        if users[digest] > 1:
            merged[key].append(last[digest])
        if last[digest].cohort_size > 1 and nodes[digest].stage.can_share:
            together[key].append(last[digest])
    alone_s = _alone_s(last.values(), nodes) if together else {}
    return [
        *(_merged(key, found, users) for key, found in merged.items()),
        *(_together(key, found, nodes, alone_s) for key, found in together.items()),
    ]


def _executions(events: Iterable[Event]) -> list[_Execution]:
    return [
        _Execution(
            digest=digest,
            duration_s=event.detail.get("duration_s", 0.0),
            cohort_size=event.detail.get("cohort_size", 1),
            used=event.detail,
        )
        for event in events
        if event.kind == "stage_finished" and not event.detail.get("reused")
        for digest in event.stages
    ]


def _merged(key: tuple[str, str], found: Sequence[_Execution], users: Mapping[str, int]) -> Shared:
    again = [(users[e.digest] - 1) * e.duration_s for e in found]
    return Shared(
        kind="merged",
        stage=key[0],
        task=key[1],
        num_members=sum(users[e.digest] for e in found),
        num_jobs=len(found),
        saved_s=sum(again),
        saved_energy_kwh=_energy(found, again),
        is_recorded=True,
    )


def _together(
    key: tuple[str, str],
    found: Sequence[_Execution],
    nodes: Mapping[str, Node],
    alone_s: Mapping[str, float],
) -> Shared:
    known = [alone_s.get(e.digest) for e in found]
    saved = [
        (_declared_alone_s(nodes[e.digest], e) if seconds is None else seconds) - e.duration_s
        for e, seconds in zip(found, known, strict=True)
    ]
    return Shared(
        kind="together",
        stage=key[0],
        task=key[1],
        num_members=len(found),
        # Each member of a call of n stands for one n-th of it.
        num_jobs=max(1, round(sum(1 / e.cohort_size for e in found))),
        saved_s=sum(saved),
        saved_energy_kwh=_energy(found, saved),
        is_recorded=None not in known,
    )


def _energy(found: Iterable[_Execution], seconds: Iterable[float]) -> float | None:
    return total(e.energy_kwh(part) for e, part in zip(found, seconds, strict=True))


def _alone_s(found: Iterable[_Execution], nodes: Mapping[str, Node]) -> dict[str, float]:
    """Return by digest the mean seconds of stages of the same kind that were in no cohort."""
    kinds = kinds_of(nodes)
    seconds: dict[str, list[float]] = defaultdict(list)
    for execution in found:
        if nodes[execution.digest].stage.can_share and execution.cohort_size == 1:
            seconds[kinds[execution.digest]].append(execution.duration_s)
    means = {kind: fmean(values) for kind, values in seconds.items()}
    return {digest: means[kind] for digest, kind in kinds.items() if kind in means}


def _declared_alone_s(node: Node, execution: _Execution) -> float:
    """Return what a member would take alone, by what its stage declares of cohorts."""
    cohort = node.stage.on(has_accelerator=bool(execution.used.get("gpu_s"))).cohort
    if cohort is None:
        return execution.duration_s
    part = cohort.fixed_cost / execution.cohort_size + cohort.member_cost
    return execution.duration_s / part
