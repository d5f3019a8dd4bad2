"""What has to be remembered of a run that MLflow holds; imports no mlflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.job import State
from orchestrator.running.tracking.records import (
    CONFIG_ID_TAG,
    CONTENT_TAG,
    FORMER,
    KIND_TAG,
    NOTE_TAG,
    NUMBERS_TAG,
    TRIAL_ID_TAG,
    RunRecord,
)


@dataclass(frozen=True, kw_only=True)
class KnownRun:
    """A run as it was last seen in the store, or written to it."""

    id: str
    state: str
    ended_ms: int
    tags: Mapping[str, str]
    params: frozenset[str]
    """The names only: MLflow never lets a value change."""

    @classmethod
    def of(cls, run: Any) -> KnownRun:
        """Read an `mlflow.entities.Run`."""
        return cls(
            id=run.info.run_id,
            state=run.info.status,
            ended_ms=run.info.end_time or 0,
            tags=run.data.tags,
            params=frozenset(run.data.params),
        )

    def completed(self, record: RunRecord) -> KnownRun:
        """Return this run after all of a record was written to it."""
        return KnownRun(
            id=self.id,
            state=str(record.state),
            ended_ms=record.ended_ms,
            tags=record.tags,
            params=self.params | frozenset(record.params),
        )

    @property
    def key(self) -> tuple[str, str]:
        """Return kind and id, as :attr:`RunRecord.key`; the id is empty for a foreign run."""
        kind = self.tags.get(KIND_TAG, "").removeprefix(FORMER)
        return kind, self.tags.get(TRIAL_ID_TAG if kind == "trial" else CONFIG_ID_TAG, "")

    def holds(self, record: RunRecord) -> bool:
        """Return whether nothing is left to write: a trial finishes once, a config may grow."""
        if record.kind == "trial" and self.state == State.FINISHED:
            return True
        is_same = self.tags.get(CONTENT_TAG) == record.tags.get(CONTENT_TAG)
        is_ended = self.state == str(record.state) and record.ended_ms in (0, self.ended_ms)
        return is_same and is_ended

    def is_outdated(self, record: RunRecord) -> bool:
        """Return whether a config has other trials now: MLflow takes no point of a curve back."""
        if record.kind != "config":
            return False
        is_same = self.tags.get(NUMBERS_TAG) == record.tags[NUMBERS_TAG]
        return not is_same or self.ended_ms not in (0, record.ended_ms)

    @property
    def foreign_tags(self) -> dict[str, str]:
        """Return what people have written on this run."""
        return {
            name: value
            for name, value in self.tags.items()
            if name == NOTE_TAG or not name.startswith(("mlflow.", "fanflare."))
        }
