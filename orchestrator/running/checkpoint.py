"""The checkpoint of a stage in mid-work, kept in the store under a digest of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cluster.artifact import Record
from cluster.store import Store
from cluster.worker import Notice, Preempted
from pipelines.contract import digest_of

if TYPE_CHECKING:
    import numpy as np

SAVE_EVERY_S = 60.0
"""A crash costs a minute of work at most, and saving a percent of the time or so."""


class StoreCheckpoint:
    """How far one member of one stage has come; two states alternate, so one is always whole.

    Args:
        store: Where it is kept.
        digest: The stage's digest.
        member: The position of the member in the call.
        since: Unix time in seconds; states saved before it count as not there.
        notice: Tells when this process has to end soon.
    """

    def __init__(
        self,
        store: Store,
        digest: str,
        member: int,
        since: float = 0.0,
        notice: Notice | None = None,
    ) -> None:
        self._store = store
        self._slots = [digest_of([digest, "checkpoint", member, slot]) for slot in (0, 1)]
        self._since = since
        self._notice = notice or Notice()
        self._next = 0
        self._saved_at = time.monotonic()

    def is_due(self) -> bool:
        """Return whether :data:`SAVE_EVERY_S` have passed, or the process has to end soon."""
        return self._notice.is_given or time.monotonic() - self._saved_at >= SAVE_EVERY_S

    def save(self, arrays: Mapping[str, np.ndarray], value: Mapping[str, Any]) -> None:
        """Keep a state in place of the last but one.

        Raises:
            Preempted: It is kept, and the process has to end.
        """
        slot = self._slots[self._next]
        self._store.remove(slot)
        record = Record(
            digest=slot, stage="checkpoint", value=value, started_at=time.time(), duration_s=0.0
        )
        self._store.write(record, arrays=arrays)
        self._next = 1 - self._next
        self._saved_at = time.monotonic()
        if self._notice.is_given:
            raise Preempted("the machine is taken away; the next attempt goes on from a checkpoint")

    def load(self) -> tuple[Mapping[str, np.ndarray], Mapping[str, Any]] | None:
        """Return the newest state, or None."""
        found = [
            record
            for record in self._store.find(self._slots).values()
            if record.started_at >= self._since
        ]
        if not found:
            return None
        newest = max(found, key=lambda record: record.started_at)
        self._next = 1 - self._slots.index(newest.digest)
        return self._store.open(newest).arrays, newest.value

    def clear(self) -> None:
        """Remove what was kept: the stage is finished."""
        for record in self._store.find(self._slots).values():
            self._store.remove(record.digest)
