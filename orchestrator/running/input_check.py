"""Runs the stages that find faults in the user's data, before anything else; knows no backend."""

from __future__ import annotations

from dataclasses import asdict

from cluster.job import Cause, Resources, State
from orchestrator.errors import Fault, InvalidSweepError
from orchestrator.planning.plan import Plan
from orchestrator.running.outcome import StageOutcome
from orchestrator.running.power import machine_power
from orchestrator.running.progress import Observer
from orchestrator.running.work import Worker
from orchestrator.running.workspace import Workspace


def check_input(
    workspace: Workspace, plan: Plan, fresh_since: float, observer: Observer
) -> list[StageOutcome]:
    """Run the stages that find faults in the user's data, here and now.

    Args:
        workspace: The sweep.
        plan: What it is about to do.
        fresh_since: Unix time in seconds; artifacts begun before it count as not there.
        observer: Who watches.

    Returns:
        The outcomes of those that were computed.

    Raises:
        InvalidSweepError: With the faults of all models and tasks.
    """
    checks = [job.stages[0] for job in plan.jobs if job.checks_input]
    if not checks:
        return []
    worker = Worker(
        resources=Resources(),
        store=workspace.store.location,
        fresh_since=fresh_since,
        power=asdict(machine_power()),
    )
    faults: list[Fault] = []
    computed: list[StageOutcome] = []
    for number, digest in enumerate(checks, start=1):
        stage = plan.stages[digest]
        name = next(iter(stage.sources.values())).name
        observer.message(f"checking {name} ({number} of {len(checks)})")
        (outcome,) = worker.run([stage])
        failure = outcome.failure
        if failure is not None and failure.cause is Cause.INPUT:
            keys = _place_of(workspace, name, failure.key)
            faults.append(workspace.file.fault(failure.message, keys, nearest=failure.nearest))
        elif outcome.state is State.FINISHED and not outcome.reused:
            computed.append(outcome)
    if faults:
        raise InvalidSweepError(faults, workspace.file_name)
    return computed


def _place_of(workspace: Workspace, name: str, key: str) -> tuple[str | int, ...]:
    """Return where in the sweep file a model or task, or the key at fault, stands."""
    if key in workspace.sweep.data_sizes:
        return (key,)
    for noun in ("models", "tasks"):
        entries = getattr(workspace.sweep, noun)
        for index, entry in enumerate(entries if isinstance(entries, tuple) else (entries,)):
            if name in (entry, getattr(entry, "name", None)):
                place = (noun, index) if isinstance(entries, tuple) else (noun,)
                return (*place, key) if key else place
    return (key,) if key else ()
