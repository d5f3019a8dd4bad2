"""One background writer: patient with a store that is down, and never silent; knows no MLflow."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.running.tracking.uris import mask_credentials

GRACE_S = 5.0
"""Seconds that a drained lane has beyond the patience for an outage, to park what is left."""

MAX_FAULTS = 10
"""Messages that a lane keeps: the first ones tell the story."""


class StoreError(Exception):
    """The tracking store did not take something.

    Attributes:
        is_temporary: Whether trying again later may help.
    """

    def __init__(self, message: str, *, is_temporary: bool) -> None:
        super().__init__(message)
        self.is_temporary = is_temporary


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to try before something is left to the next run of the sweep."""

    outage_s: float = 120.0
    """Seconds for which a store may be out of reach before writers stop waiting for it, and for
    which it may take nothing at the end before the rest is left to the next run."""
    pause_s: float = 0.2
    """Seconds before the second try; they double with each further one."""
    max_pause_s: float = 5.0
    num_tries: int = 5
    """Tries of one task while the store is within reach."""


class Task(NamedTuple):
    """Something to write; running it twice must be the same as running it once."""

    name: str
    """What people call it, for messages."""
    action: Callable[[], None]


def persist(
    action: Callable[[], None],
    is_down: Callable[[], bool],
    patience: Patience,
    stopped: threading.Event,
) -> None:
    """Run an action that may be repeated until it succeeds, patience ends or it is stopped.

    Raises:
        StoreError: The last error; temporary only if the store is down.
    """
    deadline = time.monotonic() + patience.outage_s
    num_tries, pause_s = 0, patience.pause_s
    while True:
        try:
            return action()
        except StoreError as error:
            if not error.is_temporary or stopped.is_set():
                raise
            if is_down():
                if time.monotonic() >= deadline:
                    raise
            else:
                num_tries += 1
                if num_tries >= patience.num_tries:
                    raise StoreError(str(error), is_temporary=False) from error
        stopped.wait(pause_s)
        pause_s = min(2 * pause_s, patience.max_pause_s)


class Lane:
    """A thread that runs tasks one after the other, in the order in which they came.

    While the store is down beyond patience, tasks are parked: the first of them is tried again
    every `max_pause_s`, and a last time when the lane is drained. Nothing is spooled to disk: the
    store of results has it all, and whoever writes next compares that with what MLflow has.
    """

    def __init__(self, is_down: Callable[[], bool], patience: Patience, name: str) -> None:
        self._is_down = is_down
        self._patience = patience
        self._queue: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._parked: list[Task] = []
        self._retry_at = 0.0
        self._stopped = threading.Event()
        self._moved_at = 0.0
        self.faults: list[str] = []
        """Why tasks were not done, or not at once; without credentials."""
        # A daemon, so that a store that hangs cannot keep the process alive.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, task: Task) -> None:
        """Take a task; returns at once."""
        self._queue.put(task)

    def drain(self, since: float = 0.0) -> float:
        """Run what is waiting, then end; blocks, but not for a store that takes nothing any more.

        Args:
            since: When the store last took something, as `time.monotonic()` counts.

        Returns:
            The same, as it is now.
        """
        self._queue.put(None)
        limit_s = self._patience.outage_s + GRACE_S
        while self._thread.is_alive():
            self._thread.join(0.2)
            if time.monotonic() - max(self._moved_at, since) > limit_s:
                self.faults.append(f"the store took nothing for {limit_s:g} s; the rest was left")
                self.stop()
                break
        return max(self._moved_at, since)

    def stop(self) -> None:
        """End after the task at hand and forget the others; does not block."""
        self._stopped.set()
        self._queue.put(None)

    def _run(self) -> None:
        while (task := self._queue.get()) is not None and not self._stopped.is_set():
            if self._parked:
                self._parked.append(task)
                self._retry_parked()
            else:
                self._perform(task, self._patience)
        if not self._stopped.is_set():
            self._retry_at = 0.0
            self._retry_parked()

    def _retry_parked(self) -> None:
        """Run the parked tasks up to the first that shows that the store is still down."""
        while self._parked and time.monotonic() >= self._retry_at:
            first, *rest = self._parked
            self._parked = []
            self._perform(first, Patience(outage_s=0.0))
            self._parked += rest

    def _perform(self, task: Task, patience: Patience) -> None:
        try:
            persist(task.action, self._is_down, patience, self._stopped)
            self._moved_at = time.monotonic()
        except StoreError as error:
            self._note(task, error)
            if error.is_temporary:
                self._parked.append(task)
                self._retry_at = time.monotonic() + self._patience.max_pause_s
        except Exception as error:  # noqa: BLE001 - the thread's boundary: one task must not end it
            self._note(task, error)

    def _note(self, task: Task, error: Exception) -> None:
        if len(self.faults) < MAX_FAULTS:
            text = f"{task.name}: {type(error).__name__}: {error}"
            self.faults.append(mask_credentials(text)[:1000])
