"""The append-only record of what happened in a sweep; knows no plan.

One file of JSON lines for each run of the driver, `journal/STARTED-ID.jsonl`; on a filesystem
that cannot append, one for each flush. A line that was cut by a crash is left out on reading,
and no later run writes behind it.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from cluster.job import Cause, Failure
from cluster.store import Store
from orchestrator.running.redaction import redact_json


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened."""

    time: float
    """Unix time in seconds."""
    kind: str
    """`sweep_started`, `job_started`, `stage_finished`, `stage_failed` or `sweep_ended`."""
    job: str = ""
    stages: tuple[str, ...] = ()
    """Digests of the stages that it is about."""
    attempt: int = 1
    failure: Failure | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


FLUSH_OBJECTS_EVERY_S = 1.0
"""What a crash may cost the history; results are in the store by themselves."""
NUM_READERS = 16
"""Objects of a store that are read at once."""


class Journal:
    """Writes the events of one run of the driver; there is one writer of a sweep at a time."""

    def __init__(self, store: Store, sweep: str, started_at: float) -> None:
        self._store = store
        self._folder = _folder(sweep)
        self._name = f"{started_at:017.6f}-{uuid.uuid4().hex[:8]}"
        self._num_flushes = 0
        self._flushed_at = 0.0
        self._pending: list[str] = []
        self._file: IO[bytes] | None = None
        if store.is_local:
            path = Path(store.root, self._folder, f"{self._name}.jsonl")
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)

    def append(self, event: Event) -> None:
        """Take in an event; :meth:`flush` makes it last."""
        plain = {key: value for key, value in vars(event).items() if value}
        if event.failure is not None:
            plain["failure"] = asdict(event.failure)
        for key in ("failure", "detail"):
            if key in plain:
                plain[key] = redact_json(plain[key])
        self._pending.append(json.dumps(plain, separators=(",", ":")))

    def flush(self) -> None:
        """Write the pending events.

        Raises:
            OSError: The store cannot be written.
        """
        if not self._pending:
            return
        content = "".join(f"{line}\n" for line in self._pending).encode()
        if self._file is not None:
            rest = memoryview(content)
            while rest:  # an unbuffered file may take a part only
                rest = rest[self._file.write(rest) :]
        else:
            self._num_flushes += 1
            name = f"{self._name}-{self._num_flushes:06d}.jsonl"
            self._store.write_bytes(f"{self._folder}/{name}", content)
        self._pending.clear()
        self._flushed_at = time.monotonic()

    def flush_if_due(self) -> None:
        """Write the pending events where that costs little, or has not been done for a second.

        An object for each turn of the driver's loop would cost an object store thousands of
        requests, and whoever reads them later as many.

        Raises:
            OSError: The store cannot be written.
        """
        if self._file is not None or time.monotonic() - self._flushed_at >= FLUSH_OBJECTS_EVERY_S:
            self.flush()

    def close(self) -> None:
        """Flush, and close the file."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None


def read_journal(store: Store, sweep: str) -> Iterator[Event]:
    """Yield the events of all runs of a sweep, oldest first."""
    paths = store.list_files(_folder(sweep))
    if store.is_local:
        for path in paths:
            yield from parse_events(store.read_bytes(path))
        return
    with ThreadPoolExecutor(NUM_READERS) as readers:
        for content in readers.map(store.read_bytes, paths):
            yield from parse_events(content)


def parse_events(content: bytes) -> Iterator[Event]:
    """Yield the events in a journal file; what follows the last whole line is left out."""
    for line in content.split(b"\n")[:-1]:
        plain = json.loads(line)
        failure = plain.get("failure")
        yield Event(
            **{
                **plain,
                "stages": tuple(plain.get("stages", ())),
                "failure": _failure(failure) if failure else None,
            }
        )


def _failure(plain: Mapping[str, Any]) -> Failure:
    return Failure(**{**plain, "cause": Cause(plain["cause"])})


def _folder(sweep: str) -> str:
    return f"sweeps/{sweep}/journal"
