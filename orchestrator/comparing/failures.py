"""Trials that failed or were stopped, grouped by why; explains nothing by itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cluster.job import State
from orchestrator.planning.trial import TrialResult

MAX_TRIALS = 5
"""Trials that a group names."""

STOPPED = "stopped"
"""The cause of a trial that was stopped from outside."""


@dataclass(frozen=True, kw_only=True)
class FailureGroup:
    """Trials that ended for the same reason."""

    cause: str
    message: str
    """The first line of the first failure's message."""
    num_trials: int
    trials: Sequence[str]
    """Ids of the first ones."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the keys are documented in docs/json.md."""
        return asdict(self)


def failure_groups(results: Iterable[TrialResult]) -> list[FailureGroup]:
    """Return why trials failed or were stopped, the most frequent reason first."""
    groups: dict[tuple[str, str], list[str]] = {}
    for result in results:
        if result.state in (State.FAILED, State.KILLED):
            groups.setdefault(_reason(result), []).append(result.trial.id)
    made = [
        FailureGroup(
            cause=cause, message=message, num_trials=len(trials), trials=trials[:MAX_TRIALS]
        )
        for (cause, message), trials in groups.items()
    ]
    return sorted(made, key=lambda group: -group.num_trials)


def _reason(result: TrialResult) -> tuple[str, str]:
    if result.failure is None:
        is_killed = result.state is State.KILLED
        return (STOPPED, "stopped before it ended") if is_killed else ("unknown", "")
    lines = result.failure.message.splitlines()
    return str(result.failure.cause), lines[0] if lines else ""
