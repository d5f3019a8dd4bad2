"""Writes to MLflow what a sweep's store has and MLflow does not; computes and changes nothing.

The store of results is the only spool: what could not be written when it happened, because a
server was down or a process was killed, is found by comparing the two.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from cluster.job import State
from orchestrator.errors import FanflareError, InvalidSweepError
from orchestrator.running.past import Past, past_info, past_of, past_summary, stored_report
from orchestrator.running.progress import Observer, SilentObserver
from orchestrator.running.session import tracking_uri as uri_of
from orchestrator.running.tracking import (
    MlflowTracker,
    Tracked,
    check_tracking_uri,
    mask_credentials,
)
from orchestrator.running.tracking.detail import Detail
from orchestrator.running.workspace import SweepLike, Workspace, open_past

SAY_EVERY_S = 2.0
"""Seconds between two messages about how far it is."""


@dataclass(frozen=True, kw_only=True)
class Synced:
    """What MLflow has of a sweep now."""

    sweep: str
    tracking_uri: str
    """Without credentials."""
    detail: Detail
    """What has a run of its own."""
    num_trials: int
    """Trials that have ended."""
    tracked: Tracked

    @property
    def exit_code(self) -> int:
        """0 if nothing is left to write, else 1."""
        return 0 if self.tracked.is_complete else 1

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the keys are documented in docs/json.md."""
        return {
            "sweep": self.sweep,
            "tracking_uri": self.tracking_uri,
            "experiment_id": self.tracked.experiment_id or None,
            "detail": self.detail,
            "num_trials": self.num_trials,
            "num_written": self.tracked.num_written,
            "num_unwritten": self.tracked.num_unwritten,
            "is_complete": self.tracked.is_complete,
            "faults": list(self.tracked.faults),
        }


def sync(
    given: SweepLike,
    *,
    store: str | None = None,
    tracking_uri: str | None = None,
    observer: Observer | None = None,
) -> Synced:
    """Make MLflow's records of a sweep what its store says, on a store of MLflow's or an empty one.

    What is there already is left as it is, so this may be repeated, and stopped, at any time.

    Args:
        given: A sweep in any of its forms.
        store: Where results are, in place of what the sweep says.
        tracking_uri: MLflow's tracking URI, in place of what the sweep says.
        observer: Who watches.

    Raises:
        InvalidSweepError: The sweep has faults, or the tracking URI cannot be used.
        SweepBusyError: Another process is running this sweep, and writes to MLflow itself.
        FanflareError: The sweep was never run, or not with the trials that it has now; or its
            tracking is off and no URI is given.
    """
    workspace = open_past(given, store)
    uri = _usable_uri(workspace, tracking_uri)
    with workspace.lock():
        past = past_of(workspace)
        if past.state is State.SCHEDULED:
            name = workspace.sweep.name
            raise FanflareError(f"sweep {name!r} was never run with this store: nothing to write")
        if workspace.changed_since and not workspace.is_past:
            raise FanflareError(
                f"sweep {workspace.sweep.name!r} has other trials now than in its last run, which "
                "MLflow goes on showing; run it first: fanflare run "
                f"{workspace.file_name or workspace.sweep.name}"
            )
        # What is written are records of the run, which the files of now are no part of.
        workspace = replace(workspace, changed_since=None, is_past=False)
        return _write(workspace, past, uri, observer or SilentObserver())


def _usable_uri(workspace: Workspace, given: str | None) -> str:
    uri = uri_of(workspace, given)
    if uri is None:
        raise FanflareError("the sweep says `tracking: off`; say where to write: --tracking-uri")
    if fault := check_tracking_uri(uri):
        raise InvalidSweepError(
            [workspace.file.fault(fault, ("tracking", "uri"))], workspace.file_name
        )
    return uri


def _write(workspace: Workspace, past: Past, uri: str, observer: Observer) -> Synced:
    info = past_info(workspace, workspace.saved_id(), past)
    report = stored_report(workspace, workspace.plan(), past)
    results = [result for result in report.results if result.state is not State.KILLED]
    artifact_folder = workspace.folder / "mlartifacts"
    tracker = MlflowTracker(uri, artifact_folder, on_progress=_teller(observer))
    try:
        tracker.start(info, results)
        tracked = tracker.finish(past.state, past_summary(report, past))
    except BaseException:
        tracker.close()
        raise
    return Synced(
        sweep=workspace.sweep.name,
        tracking_uri=mask_credentials(uri),
        detail=info.detail,
        num_trials=len(results),
        tracked=tracked,
    )


def _teller(observer: Observer) -> Callable[[int, int], None]:
    """Return a function that tells an observer now and then how far the writing is."""
    said_at = time.monotonic()

    def tell(num_done: int, num_due: int) -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= SAY_EVERY_S:
            said_at = time.monotonic()
            observer.message(f"{num_done} of {num_due} records are in MLflow")

    return tell
