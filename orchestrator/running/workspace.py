"""A sweep and its places: the file, the trials, the store, its own folder; executes nothing."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.artifact import Record, StoreError
from cluster.job import Failure, Resources, State
from cluster.machine import gpu_memory_gib as local_gpu_memory_gib
from cluster.machine import local_resources
from cluster.store import Store
from orchestrator.errors import Fault, InvalidSweepError
from orchestrator.planning.cost import Observation, Timings
from orchestrator.planning.grid import expand, parse
from orchestrator.planning.plan import Plan, Setting, make_plan, merge
from orchestrator.planning.sweep import Sweep
from orchestrator.planning.sweep_file import SweepFile
from orchestrator.planning.trial import Trial, ids_digest
from orchestrator.running.journal import read_journal
from orchestrator.running.pins import Pins
from orchestrator.running.right_to_drive import driving, is_driven
from orchestrator.running.saved_sweep import (
    DEFAULT_STORE,
    save_sweep,
    saved_id,
    saved_pins,
    saved_sweep,
)
from pipelines.contract import Node
from pipelines.labels import extras_of

SweepLike = Sweep | Mapping[str, Any] | str | Path
"""A sweep, a dict with the keys of a sweep file, the path of one, or the name of a sweep that
the store knows."""

_TIMINGS = "timings.json"


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """One sweep, opened."""

    sweep: Sweep
    file: SweepFile
    trials: Sequence[Trial]
    nodes: Mapping[str, Node]
    """The merged nodes of all trials by digest, inputs first."""
    store: Store
    changed_since: float | None = None
    """Unix time of the last run, where its trials were others than the sweep has now."""
    is_past: bool = False
    """Whether the trials are nevertheless those of that run."""

    @property
    def folder(self) -> Path:
        """The sweep's own folder on this machine: its MLflow database, its lock, its copy."""
        root = Path(self.store.root) if self.store.is_local else Path(DEFAULT_STORE).resolve()
        return root / "sweeps" / self.sweep.name

    @property
    def file_name(self) -> str:
        """The path of the sweep file, or an empty string."""
        return str(self.file.path or "")

    def plan(
        self,
        *,
        fresh: bool = False,
        retry_failed: bool = True,
        capacity: Resources | None = None,
        gpu_memory_gib: float = 0.0,
    ) -> Plan:
        """Return what would run now.

        Args:
            fresh: Whether to leave out of account what the store has.
            retry_failed: Whether to try again what failed before.
            capacity: What jobs may use; by default this machine.
            gpu_memory_gib: Memory of one accelerator there, in GiB; where it is unknown (0), no
                trials share one.
        """
        asks_gpu = self.sweep.resources.num_gpus > 0
        known = set() if fresh else self._known()
        failed = {} if retry_failed else self.failed_stages()
        setting = Setting(
            known=frozenset(known),
            skipped={digest: failed[digest] for digest in failed.keys() - known},
            timings=self.timings(),
            capacity=capacity or local_resources(),
            gpu_memory_gib=local_gpu_memory_gib()
            if asks_gpu and capacity is None
            else gpu_memory_gib,
        )
        planned = make_plan(self.sweep, self.trials, self.nodes, setting)
        while lost := self._without_files(planned):
            setting = replace(setting, known=setting.known - lost)
            planned = make_plan(self.sweep, self.trials, self.nodes, setting)
        return planned

    def _without_files(self, planned: Plan) -> set[str]:
        """Return known stages that will be read, but whose files are not here.

        `pull` leaves them where they are, and who needs space deletes them; their records stay.
        """
        to_run = {digest for job in planned.jobs for digest in job.stages}
        inputs = {digest for one in to_run for digest in planned.stages[one].inputs.values()}
        records: dict[str, Record] = {}
        for digest in inputs & planned.known:
            with suppress(StoreError):  # a damaged record fails what reads it, and says so
                records |= self.store.find([digest])
        return {digest for digest, one in records.items() if not self.store.has_files(one)}

    def _known(self) -> set[str]:
        """Return the digests that the store has, with all extras that are wanted of them."""
        known = self.store.present(self.nodes)
        records = self.store.find(digest for digest in known if self.nodes[digest].keep)
        return known - {
            digest
            for digest, record in records.items()
            if not self.nodes[digest].keep <= extras_of(record.value)
        }

    def failed_stages(self) -> dict[str, Failure]:
        """Return why stages failed, by digest, for those whose last attempt did."""
        failed: dict[str, Failure] = {}
        for event in read_journal(self.store, self.sweep.name):
            for digest in event.stages:
                if event.failure is not None:
                    failed[digest] = event.failure
                elif event.kind in ("job_started", "stage_finished"):
                    failed.pop(digest, None)
        return failed

    def timings(self) -> Timings:
        """Return the timings recorded in the store; none if there are none, or unreadable."""
        try:
            return Timings.from_json(json.loads(self.store.read_bytes(_TIMINGS)))
        except (OSError, ValueError, TypeError, AttributeError):
            return Timings()

    def save_timings(self, observed: Sequence[Observation]) -> None:
        """Take what newly computed stages have cost into the store's timings."""
        if observed:
            timings = self.timings()
            for seen in observed:
                timings.take(seen)
            self.store.write_bytes(_TIMINGS, json.dumps(timings.to_json()).encode())

    def save_copy(self) -> str:
        """Keep the sweep's content in the store, so that it can be opened by name; return its id.

        See :func:`~orchestrator.running.saved_sweep.save_sweep`.
        """
        pins = Pins.of(self.trials, self.nodes, time.time())
        return save_sweep(self.store, self.sweep.name, self.file, pins)

    def saved_id(self) -> str:
        """Return the id that :meth:`save_copy` gave, or an empty string before the first run."""
        return saved_id(self.store, self.sweep.name)

    @contextmanager
    def lock(self, wait_s: float = 0.0) -> Iterator[None]:
        """Hold the right to drive this sweep.

        Args:
            wait_s: Seconds to wait for another driver that may be gone.

        Raises:
            SweepBusyError: Another process holds it.
        """
        with driving(self.store, self.sweep.name, self.folder, wait_s=wait_s):
            yield

    def is_running(self) -> bool:
        """Return whether a process drives the sweep now."""
        return is_driven(self.store, self.sweep.name, self.folder)

    def state(self) -> State:
        """Return where the sweep stands, by the lock and the journal."""
        if self.is_running():
            return State.RUNNING
        state = State.SCHEDULED
        for event in read_journal(self.store, self.sweep.name):
            if event.kind == "sweep_started":
                state = State.KILLED  # unless its end is recorded too
            elif event.kind == "sweep_ended":
                state = State(event.detail["state"])
        return state


def open_sweep(given: SweepLike | SweepFile, store: str | None = None) -> Workspace:
    """Open a sweep and find its trials and its store.

    Args:
        given: A sweep in any of its forms; a file may have been read before.
        store: Where results are, in place of what the sweep says.

    Raises:
        InvalidSweepError: The sweep has faults; all of them are told.
        UnknownNameError: There is neither such a file nor such a sweep in the store.
    """
    file = _sweep_file(given, store)
    sweep = given if isinstance(given, Sweep) else parse(file)
    location = store or _store_location(sweep, file)
    trials, nodes = merge(expand(sweep, file))
    try:
        opened = Store(location)
    except StoreError as error:
        raise InvalidSweepError(
            [file.fault(str(error), ("store",))], str(file.path or "")
        ) from error
    return Workspace(sweep=sweep, file=file, trials=trials, nodes=nodes, store=opened)


def open_past(given: SweepLike, store: str | None = None) -> Workspace:
    """Open a sweep as it ran last, though files that it names may have changed since.

    What it gave can be shown then; what has changed cannot be read. A sweep that never ran, or of
    which more has changed, is opened as :func:`open_sweep` does.

    Args:
        given: A sweep in any of its forms.
        store: Where results are, in place of what the sweep says.

    Raises:
        InvalidSweepError: The sweep has faults; all of them are told.
        UnknownNameError: There is neither such a file nor such a sweep in the store.
    """
    opened = open_sweep(given, store)
    pins = saved_pins(opened.store, opened.sweep.name)
    if pins is None or pins.trials == ids_digest(opened.trials):
        return opened
    opened = replace(opened, changed_since=pins.started_at)
    past = pins.pinned(opened.trials, opened.nodes)
    return replace(opened, trials=past[0], nodes=past[1], is_past=True) if past else opened


def _sweep_file(given: SweepLike | SweepFile, store: str | None) -> SweepFile:
    if isinstance(given, SweepFile):
        return given
    if isinstance(given, Sweep):
        return SweepFile(given.model_dump(mode="json", exclude_unset=True))
    if isinstance(given, Mapping):
        return SweepFile(dict(given))
    return SweepFile.read(Path(given)) if is_sweep_file(given) else saved_sweep(str(given), store)


def is_sweep_file(given: str | Path) -> bool:
    """Return whether this names a file rather than a sweep of a store."""
    path = Path(given)
    return path.suffix in (".yaml", ".yml", ".json") or path.is_file()


def _store_location(sweep: Sweep, file: SweepFile) -> str:
    if sweep.store is None:
        return os.environ.get("FANFLARE_STORE", DEFAULT_STORE)
    if "://" in sweep.store:
        return sweep.store
    return str(file.folder / Path(sweep.store).expanduser())


def check_capacity(workspace: Workspace, capacity: Resources) -> None:
    """Compare what a trial needs with what there is.

    Raises:
        InvalidSweepError: A trial needs more than there is.
    """
    need = workspace.sweep.resources
    faults: list[Fault] = [
        workspace.file.fault(f"{wanted:g} asked for, there are {there:g}", ("resources", name))
        for name, wanted, there in (
            ("num_cpus", need.num_cpus, capacity.num_cpus),
            ("num_gpus", need.num_gpus, capacity.num_gpus),
            ("memory_gib", need.memory_gib, round(capacity.memory_gib, 1)),
        )
        if wanted > there
    ]
    if faults:
        raise InvalidSweepError(faults, workspace.file_name)
