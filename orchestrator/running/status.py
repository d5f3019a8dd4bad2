"""Where a sweep stands, read from store, journal and lock by any process; changes nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cluster.job import State
from orchestrator.running.journal import Event, read_journal
from orchestrator.running.results import state_of, stored_results
from orchestrator.running.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class RunningJob:
    """A job that a worker has in hand."""

    job: str
    stages: Sequence[str]
    """The names of its stages, each once."""
    attempt: int
    running_s: float


@dataclass(frozen=True, kw_only=True)
class FailedTrial:
    """A trial whose last attempt failed."""

    trial: str
    cause: str
    message: str


@dataclass(frozen=True, kw_only=True)
class SweepStatus:
    """Where a sweep stands."""

    sweep: str
    state: State
    counts: Mapping[str, int]
    """Trials by state."""
    changed_since: float | None = None
    """Unix time of the last run, where its trials were others than the sweep has now."""
    is_past: bool = False
    """Whether the trials are nevertheless those of that run."""
    running: Sequence[RunningJob]
    failures: Sequence[FailedTrial]
    trials: Sequence[Mapping[str, Any]]
    """`{"id", "model", "task", "method", "seed", "state", "fidelity"}` of each trial."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the keys are documented in docs/json.md."""
        return asdict(self)


def sweep_status(workspace: Workspace) -> SweepStatus:
    """Return where a sweep stands now."""
    events = list(read_journal(workspace.store, workspace.sweep.name))
    state = workspace.state()
    started = _running_jobs(events) if state is State.RUNNING else {}
    busy = {digest for event in started.values() for digest in event.stages}
    results = list(stored_results(workspace.plan(), workspace.store, events))
    states = {
        result.trial.id: State.RUNNING
        if result.state is State.SCHEDULED and busy.intersection(result.trial.stages)
        else result.state
        for result in results
    }
    return SweepStatus(
        sweep=workspace.sweep.name,
        state=state_of(state, results),
        changed_since=workspace.changed_since,
        is_past=workspace.is_past,
        counts=dict(Counter(str(state) for state in states.values())),
        running=[_running_job(event, workspace) for event in started.values()],
        failures=[
            FailedTrial(
                trial=result.trial.id,
                cause=str(result.failure.cause),
                message=result.failure.message,
            )
            for result in results
            if result.failure
        ],
        trials=[
            {
                "id": result.trial.id,
                "model": result.trial.model,
                "task": result.trial.task,
                "method": result.trial.method,
                "seed": result.trial.seed,
                "state": str(states[result.trial.id]),
                "fidelity": result.label,
            }
            for result in results
        ],
    )


def _running_jobs(events: Iterable[Event]) -> dict[str, Event]:
    """Return the jobs of the newest run that have started and not ended, by id."""
    running: dict[str, Event] = {}
    for event in events:
        if event.kind == "sweep_started":
            running.clear()
        elif event.kind == "job_started":
            running[event.job] = event
        elif event.kind in ("stage_finished", "stage_failed"):
            running.pop(event.job, None)
    return running


def _running_job(event: Event, workspace: Workspace) -> RunningJob:
    names = [
        workspace.nodes[digest].stage.name for digest in event.stages if digest in workspace.nodes
    ]
    return RunningJob(
        job=event.job,
        stages=list(dict.fromkeys(names)),
        attempt=event.attempt,
        running_s=time.time() - event.time,
    )
