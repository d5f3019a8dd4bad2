"""One run of a sweep from start to end: check, execute, report; the parts know how."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any

from cluster.artifact import StoreError
from cluster.backend import BACKENDS, open_backend
from cluster.job import Cause, Resources, State, WorkerSpec
from cluster.machine import local_resources
from orchestrator.comparing.report import Report
from orchestrator.errors import Fault, InvalidSweepError, UnknownNameError
from orchestrator.planning.plan import Plan
from orchestrator.running.journal import Event, Journal, read_journal
from orchestrator.running.loop import Driver
from orchestrator.running.progress import Observer, SilentObserver
from orchestrator.running.results import stored_results
from orchestrator.running.summary import sweep_info, sweep_summary
from orchestrator.running.tracking import (
    MlflowTracker,
    NullTracker,
    Tracker,
    check_tracking_uri,
    default_tracking_uri,
)
from orchestrator.running.work import Worker
from orchestrator.running.workspace import SweepLike, Workspace, check_capacity, open_sweep


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run a sweep, as opposed to what the sweep is."""

    backend: str = "ray"
    """A backend by its name in `cluster.backend.BACKENDS`."""
    store: str | None = None
    """Where results are kept, in place of what the sweep says."""
    tracking_uri: str | None = None
    """MLflow's tracking URI, in place of what the sweep says."""
    fresh: bool = False
    """Whether to compute everything anew, whatever the store has."""
    retry_failed: bool = True
    """Whether to try again what failed in an earlier run."""
    observer: Observer = field(default_factory=SilentObserver)
    """Who watches."""


def plan(given: SweepLike, *, store: str | None = None, fresh: bool = False) -> Plan:
    """Return what :func:`run` would do now: trials, merged stages, known parts, jobs.

    Raises:
        InvalidSweepError: The sweep has faults; all of them are told.
    """
    workspace = open_sweep(given, store)
    check_capacity(workspace, local_resources())
    return workspace.plan(fresh=fresh)


def run(given: SweepLike, options: RunOptions | None = None, **changes: Any) -> Report:
    """Run a sweep: compute what the store does not have yet, and return the comparison.

    Args:
        given: A sweep, a dict with the keys of a sweep file, or the path of one.
        options: How to run it.
        changes: Fields of :class:`RunOptions`, in place of what `options` says.

    Raises:
        InvalidSweepError: The sweep, or something it names, has faults; nothing was computed.
        SweepBusyError: Another process is running this sweep.
        UnknownNameError: There is no such backend.
    """
    options = replace(options or RunOptions(), **changes)
    if options.backend not in BACKENDS:
        raise UnknownNameError(
            f"there is no backend {options.backend!r}; there are {', '.join(BACKENDS)}"
        )
    workspace = open_sweep(given, options.store)
    with _interruptible():
        uri = _check_places(workspace, options)
        with workspace.lock():
            started_at = time.time()
            _check_input(workspace, options, started_at)
            return _Session(workspace, options, uri, started_at).execute()


def report(given: SweepLike, *, store: str | None = None) -> Report:
    """Return the comparison of what a sweep has given so far; computes nothing.

    Raises:
        InvalidSweepError: The sweep has faults.
    """
    workspace = open_sweep(given, store)
    events = read_journal(workspace.store, workspace.sweep.name)
    results = list(stored_results(workspace.plan(), workspace.store, events))
    num_reused = sum(result.state is State.FINISHED for result in results)
    return Report(workspace.sweep.name, workspace.state(), results, num_reused)


def tracking_uri(workspace: Workspace, given: str | None = None) -> str | None:
    """Return the tracking URI of a sweep, or None where it is off."""
    tracking = workspace.sweep.tracking
    if tracking == "off":
        return given
    return given or tracking.uri or default_tracking_uri(workspace.folder)


def _check_places(workspace: Workspace, options: RunOptions) -> str | None:
    """Return the tracking URI after making sure that everything needed can be had.

    Raises:
        InvalidSweepError: The store, the tracking server or the resources cannot be had.
    """
    faults: list[Fault] = []
    try:
        workspace.store.check()
    except StoreError as error:
        faults.append(workspace.file.fault(str(error), ("store",)))
    uri = tracking_uri(workspace, options.tracking_uri)
    if uri and not faults and (fault := check_tracking_uri(uri)):
        faults.append(workspace.file.fault(fault, ("tracking", "uri")))
    try:
        check_capacity(workspace, local_resources())
    except InvalidSweepError as error:
        faults += error.faults
    if faults:
        raise InvalidSweepError(faults, workspace.file_name)
    return uri


def _check_input(workspace: Workspace, options: RunOptions, started_at: float) -> None:
    """Run the stages that find faults in the user's data, here and now.

    Raises:
        InvalidSweepError: With the faults of all models and tasks.
    """
    plan = workspace.plan(fresh=options.fresh, retry_failed=options.retry_failed)
    fresh_since = started_at if options.fresh else 0.0
    worker = Worker(resources=Resources(), store=workspace.store.location, fresh_since=fresh_since)
    faults: list[Fault] = []
    checks = [job.stages[0] for job in plan.jobs if job.checks_input]
    for number, digest in enumerate(checks, start=1):
        stage = plan.stages[digest]
        name = next(iter(stage.sources.values())).name
        options.observer.message(f"checking {name} ({number} of {len(checks)})")
        (outcome,) = worker.run([stage])
        failure = outcome.failure
        if failure is not None and failure.cause is Cause.INPUT:
            keys = _place_of(workspace, name, failure.key)
            faults.append(workspace.file.fault(failure.message, keys, nearest=failure.nearest))
    if faults:
        raise InvalidSweepError(faults, workspace.file_name)


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


class _Session:
    """The execution of one run, all checks passed."""

    def __init__(
        self, workspace: Workspace, options: RunOptions, uri: str | None, started_at: float
    ) -> None:
        self._workspace = workspace
        self._options = options
        self._started_at = started_at
        self._is_tracked = uri is not None
        self._tracker: Tracker = (
            MlflowTracker(uri, workspace.folder / "mlartifacts") if uri else NullTracker()
        )
        self._plan = workspace.plan(fresh=options.fresh, retry_failed=options.retry_failed)
        self._journal = Journal(workspace.store, workspace.sweep.name, self._started_at)
        self._driver = Driver(
            self._plan,
            store=workspace.store,
            journal=self._journal,
            tracker=self._tracker,
            observer=options.observer,
        )

    def execute(self) -> Report:
        """Run the plan and return the report."""
        self._note("sweep_started", num_trials=len(self._plan.trials))
        sweep_id = self._workspace.save_copy()
        self._tracker.start(sweep_info(self._workspace, self._plan, sweep_id))
        state = State.FINISHED
        try:
            self._driver.record_known()
            if self._plan.jobs:
                self._run_jobs()
        except KeyboardInterrupt:
            state = State.KILLED
        except BaseException:
            self._tracker.close()
            raise
        finally:
            self._workspace.save_timings(self._driver.stage_costs, self._driver.cohort_limits)
        return self._finish(state)

    def _run_jobs(self) -> None:
        spec = WorkerSpec(
            factory="orchestrator.running.work:Worker",
            settings={
                "store": self._workspace.store.location
                if "://" in self._workspace.store.location
                else self._workspace.store.root,
                "fresh_since": self._started_at if self._options.fresh else 0.0,
            },
        )
        self._options.observer.message(f"starting backend {self._options.backend!r}")
        backend = open_backend(self._options.backend, spec)
        try:
            check_capacity(self._workspace, backend.capacity)
            self._driver.execute(self._plan.jobs, backend)
        finally:
            backend.close()

    def _finish(self, state: State) -> Report:
        results = self._driver.all_results()
        if state is State.FINISHED and any(r.state is not State.FINISHED for r in results):
            state = State.FAILED
        num_known = self._driver.progress.num_known
        report = Report(
            self._workspace.sweep.name, state, results, num_known, is_tracked=self._is_tracked
        )
        self._note("sweep_ended", state=str(state), counts=dict(report.counts))
        self._journal.close()
        if report.is_tracked:
            self._options.observer.message("writing the last results to MLflow")
        tracked = self._tracker.finish(state, sweep_summary(report))
        for fault in tracked.faults:
            self._options.observer.message(f"MLflow: {fault}")
        if tracked.num_unwritten:
            self._options.observer.message(
                f"{tracked.num_unwritten} results are in the store but not in MLflow; "
                "run the same command again to write them"
            )
        return report

    def _note(self, kind: str, **detail: Any) -> None:
        self._journal.append(Event(time=time.time(), kind=kind, detail=detail))
        self._journal.flush()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end a run as Ctrl-C does: in good order."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous: dict[int, Any] = {}
    try:
        for name in (signal.SIGTERM, signal.SIGHUP):
            previous[name] = signal.signal(name, interrupt)
    except ValueError:
        pass  # not in the main thread: signals are somebody else's
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
