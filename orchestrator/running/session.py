"""One run of a sweep from start to end: check, execute, report; the parts know how."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from types import FrameType
from typing import Any

from cluster.artifact import StoreError
from cluster.backend import BACKENDS, open_backend
from cluster.job import Resources, State, WorkerSpec
from cluster.machine import local_resources
from orchestrator.comparing.report import Report
from orchestrator.errors import Fault, InvalidSweepError, UnknownNameError
from orchestrator.planning.plan import Plan
from orchestrator.running.facts import with_facts
from orchestrator.running.input_check import check_input
from orchestrator.running.journal import Event, Journal, read_journal
from orchestrator.running.loop import Driver
from orchestrator.running.options import RunOptions
from orchestrator.running.outcome import StageOutcome, finished_event
from orchestrator.running.past import (
    past_info,
    past_of,
    past_summary,
    save_plan,
    stored_report,
)
from orchestrator.running.power import machine_power
from orchestrator.running.predictions import StoredExamples
from orchestrator.running.provenance import run_facts
from orchestrator.running.tracking import (
    MlflowTracker,
    NullTracker,
    Tracker,
    check_tracking_uri,
    default_tracking_uri,
)
from orchestrator.running.workspace import SweepLike, Workspace, check_capacity, open_sweep


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
    return run_opened(open_sweep(given, options.store), options)


def run_opened(workspace: Workspace, options: RunOptions) -> Report:
    """Run what :func:`~orchestrator.running.workspace.open_sweep` has opened, as :func:`run` does.

    Raises:
        InvalidSweepError: Something that the sweep names has faults; nothing was computed.
        SweepBusyError: Another process is running this sweep.
    """
    with _interruptible():
        uri = _check_places(workspace, options)
        with workspace.lock(options.cluster.wait_s if options.cluster else 0.0):
            started_at = time.time()
            planned = _plan(workspace, options)
            fresh_since = started_at if options.fresh else 0.0
            checked = check_input(workspace, planned, fresh_since, options.observer)
            if checked:
                planned = _plan(workspace, options)  # the store has more now
            return _Session(workspace, options, planned, uri, started_at).execute(checked)


def tracking_uri(workspace: Workspace, given: str | None = None) -> str | None:
    """Return the tracking URI of a sweep, or None where it is off."""
    tracking = workspace.sweep.tracking
    if given == "off" or (tracking == "off" and given is None):
        return None
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
        check_capacity(workspace, _capacity(options) or local_resources())
    except InvalidSweepError as error:
        faults += error.faults
    if faults:
        raise InvalidSweepError(faults, workspace.file_name)
    return uri


def _plan(workspace: Workspace, options: RunOptions) -> Plan:
    return workspace.plan(
        fresh=options.fresh,
        retry_failed=options.retry_failed,
        capacity=_capacity(options),
        gpu_memory_gib=options.cluster.gpu_memory_gib if options.cluster else 0.0,
    )


def _capacity(options: RunOptions) -> Resources | None:
    """Return what is declared of the cluster; None on this machine."""
    return options.cluster.capacity if options.cluster else None


class _Session:
    """The execution of one run, all checks passed."""

    def __init__(
        self,
        workspace: Workspace,
        options: RunOptions,
        planned: Plan,
        uri: str | None,
        started_at: float,
    ) -> None:
        self._workspace = workspace
        self._options = options
        self._started_at = started_at
        self._is_tracked = uri is not None
        self._tracker: Tracker = (
            MlflowTracker(uri, workspace.folder / "mlartifacts") if uri else NullTracker()
        )
        self._plan = planned
        self._power = machine_power() if self._plan.jobs else None
        self._journal = Journal(workspace.store, workspace.sweep.name, self._started_at)
        self._driver = Driver(
            self._plan,
            store=workspace.store,
            journal=self._journal,
            tracker=self._tracker,
            observer=options.observer,
        )

    def execute(self, checked: Iterable[StageOutcome]) -> Report:
        """Run the plan and return the report.

        Args:
            checked: Stages that were computed beforehand.
        """
        self._note("sweep_started", num_trials=len(self._plan.trials), **run_facts(self._power))
        for outcome in checked:
            self._journal.append(finished_event(outcome))
        sweep_id = self._workspace.save_copy()
        save_plan(self._workspace, self._plan)
        if self._is_tracked:
            self._tracker.start(past_info(self._workspace, sweep_id, past_of(self._workspace)))
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
            self._workspace.save_timings(self._driver.observed)
        return self._finish(state)

    def _run_jobs(self) -> None:
        spec = WorkerSpec(
            factory="orchestrator.running.work:Worker",
            settings={
                "store": self._workspace.store.location
                if "://" in self._workspace.store.location
                else self._workspace.store.root,
                "fresh_since": self._started_at if self._options.fresh else 0.0,
                "power": asdict(self._power) if self._power else None,
            },
        )
        self._options.observer.message(f"starting backend {self._options.backend!r}")
        backend = open_backend(self._options.backend, spec, **_place(self._options))
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
            self._workspace.sweep.name,
            state,
            results,
            num_known,
            is_tracked=self._is_tracked,
            read_examples=StoredExamples(self._workspace),
        )
        counts = dict(report.counts)
        self._note("sweep_ended", state=str(state), counts=counts, num_reused=num_known)
        self._journal.close()
        if report.is_tracked:
            self._show_in_mlflow(state)
        events = list(read_journal(self._workspace.store, self._workspace.sweep.name))
        return with_facts(report, self._workspace, events)

    def _show_in_mlflow(self, state: State) -> None:
        say = self._options.observer.message
        say("writing the last results to MLflow")
        past = past_of(self._workspace)
        summary = past_summary(stored_report(self._workspace, self._plan, past), past)
        tracked = self._tracker.finish(state, summary)
        for fault in tracked.faults:
            say(f"MLflow: {fault}")
        if not tracked.is_complete:
            num = tracked.num_unwritten
            say(
                f"{f'{num} results' if num else 'the summary'} in the store but not in MLflow: "
                "the next run writes them, and so does `fanflare sync`"
            )

    def _note(self, kind: str, **detail: Any) -> None:
        self._journal.append(Event(time=time.time(), kind=kind, detail=detail))
        self._journal.flush()


def _place(options: RunOptions) -> dict[str, Any]:
    """Return the options of the backend `ray` for a cluster that is there already."""
    if options.cluster is None:
        return {}
    there = options.cluster
    return {"address": there.address, "capacity": there.capacity, "idle_s": there.idle_s}


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
