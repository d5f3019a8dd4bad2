"""Finds a trial by the beginning of its id, and what its stages printed; changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from cluster.store import Store
from orchestrator.errors import FanflareError, UnknownNameError
from orchestrator.planning.trial import Trial
from orchestrator.running.saved_sweep import DEFAULT_STORE
from orchestrator.running.workspace import Workspace, open_past


@dataclass(frozen=True, kw_only=True)
class StageLog:
    """What one stage printed in all its attempts."""

    stage: str
    digest: str
    text: str


def trial_logs(prefix: str, sweep: str | None = None, store: str | None = None) -> list[StageLog]:
    """Return the logs of a trial's stages, inputs first; the arguments are :func:`find_trial`'s.

    Raises:
        UnknownNameError: No trial, or more than one, has such an id.
    """
    return logs_of(*find_trial(prefix, sweep, store))


def find_trial(
    prefix: str, sweep: str | None = None, store: str | None = None
) -> tuple[Trial, Workspace]:
    """Return a trial and the sweep that it was found in.

    Args:
        prefix: The trial's id, or its beginning.
        sweep: The sweep's file or name; by default every sweep in the store is searched.
        store: Where results are.

    Raises:
        UnknownNameError: No trial, or more than one, has such an id.
    """
    found = {
        trial.id: (trial, workspace)
        for workspace in _workspaces(sweep, store)
        for trial in workspace.trials
        if trial.id.startswith(prefix)
    }
    if not found:
        raise UnknownNameError(f"no trial's id begins with {prefix!r}")
    if len(found) > 1:
        raise UnknownNameError(f"{prefix!r} is the beginning of several ids: {', '.join(found)}")
    return next(iter(found.values()))


def _workspaces(sweep: str | None, store: str | None) -> Iterator[Workspace]:
    if sweep is not None:
        yield open_past(sweep, store)
        return
    location = store or os.environ.get("FANFLARE_STORE", DEFAULT_STORE)
    for name in Store(location).list_folders("sweeps"):
        try:
            yield open_past(name, location)
        except FanflareError:
            continue  # a sweep that cannot be read any more hides no other


def logs_of(trial: Trial, workspace: Workspace) -> list[StageLog]:
    """Return what a trial's stages printed, inputs first."""
    return [
        StageLog(
            stage=workspace.nodes[digest].stage.name,
            digest=digest,
            text="\n".join(workspace.store.read_logs(digest)),
        )
        for digest in trial.stages
    ]
