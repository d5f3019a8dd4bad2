"""What the loop asks of a tracker and what it is told at the end; knows no MLflow."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cluster.job import State
from orchestrator.planning.trial import TrialResult
from orchestrator.running.tracking.detail import Detail


@dataclass(frozen=True, kw_only=True)
class SweepInfo:
    """A sweep as the tracker shows it while it runs; plain data."""

    name: str
    """The name of the experiment and of the parent run."""
    id: str
    """What tells this sweep from another one of the same name on a shared server."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Tags of the parent run, added to the tracker's own; credentials are masked."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Facts that never change for this sweep; a value already written is kept."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Text artifacts of the parent run by name, for example `sweep.yaml` and `plan.json`."""
    detail: Detail = "trial"
    """What has a run of its own. Runs that are there already are kept up to date all the same."""
    started_at: float = 0.0
    """Unix time in seconds at which the sweep was first run; 0 for now."""


@dataclass(frozen=True, kw_only=True)
class ConfigSummary:
    """One row of the leaderboard as a run of its own, so that MLflow can compare configs."""

    config_id: str
    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    """For example mean, standard deviation, bounds of the interval and n."""
    curve: Sequence[Mapping[str, Any]] = ()
    """Means over its seeds, `{"step": int, name: number, ...}`, under the trials' own names."""
    datasets: Sequence[Mapping[str, Any]] = ()
    """As :attr:`TrialResult.datasets`."""
    state: State = State.FINISHED
    started_at: float = 0.0
    """Unix time in seconds at which its first trial began."""
    ended_at: float = 0.0
    """Unix time in seconds at which its last trial ended; must grow when its curve changes."""
    updated_at: float = 0.0
    """Unix time in seconds of the numbers, which change with other configs too, as ranks do; must
    grow when they do; by default `ended_at`."""


@dataclass(frozen=True, kw_only=True)
class SweepSummary:
    """What a sweep gave, for the parent run; plain data."""

    note: str = ""
    """Markdown, shown as the description of the parent run."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Counts such as `num_trials`; metrics and not params, since a sweep may grow."""
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    """Artifacts of the parent run by name, for example `leaderboard.csv`."""
    leaderboard: Sequence[Mapping[str, Any]] = ()
    """Rows of JSON values, shown as a table; the keys of the first row are the columns."""
    configs: Sequence[ConfigSummary] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    """What MLflow's page of models calls those of the chosen configs, by config id."""
    ids: Collection[str] | None = None
    """Of all trials and configs of the sweep: runs of others are marked as former ones. None if
    that is not known, and then no mark is changed."""
    ended_at: float = 0.0
    """Unix time in seconds at which the last run of the sweep ended; 0 for now."""


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """What became of the results handed to a tracker."""

    num_written: int = 0
    """Results that have a run in the tracker, whether written now or before."""
    num_unwritten: int = 0
    """Results that should have one; the next run of the sweep, or `fanflare sync`, writes them."""
    is_complete: bool = True
    """Whether nothing is left to write, configs and the sweep's own run included."""
    faults: tuple[str, ...] = ()
    """Why, each text once, without credentials."""
    experiment_id: str = ""
    """The experiment's id in the tracking store, or an empty string if it was never reached."""


class Tracker(Protocol):
    """Shows a sweep to people; never the place where its results are kept.

    `start`, `record` and `close` return at once. No method raises for a store that is down or
    refuses something: `finish` reports it.
    """

    def start(self, sweep: SweepInfo, results: Sequence[TrialResult] = ()) -> None:
        """Begin to show a sweep, with the results that are known before the first job."""

    def record(self, result: TrialResult) -> None:
        """Show how a trial ended."""

    def finish(self, state: State, summary: SweepSummary) -> Tracked:
        """Write what is still waiting, then the summary; return what was written."""

    def close(self) -> None:
        """Give up what is still waiting; needed only where `finish` was not called."""


class NullTracker:
    """The tracker of `tracking: off`."""

    def start(self, sweep: SweepInfo, results: Sequence[TrialResult] = ()) -> None:
        """Do nothing."""

    def record(self, result: TrialResult) -> None:
        """Do nothing."""

    def finish(self, state: State, summary: SweepSummary) -> Tracked:
        """Return a report of nothing."""
        return Tracked()

    def close(self) -> None:
        """Do nothing."""
