"""What runs in a Ray worker process: one worker, made once, and what it is told by signals."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, NamedTuple

from cluster.job import Cause, Failure, Resources, WorkerSpec
from cluster.worker import Perishable, Preempted, Preemptible, Preparable, make_worker

TITLE = "ray::FanflareWorker"
"""How the command line of such a process begins, by Ray's naming."""


class Ended(NamedTuple):
    """How one job ended in a process that lived to tell."""

    result: Any = None
    failure: Failure | None = None
    is_leaving: bool = False
    """Whether the process was told to end, or is of no use any more, so that it takes no other
    job."""


class FanflareWorker:
    """The class of the actors.

    The first SIGTERM lets the running job come to its next checkpoint, a second one breaks it off;
    without a job the process ends at once, as Ray's own handler does it.

    Args:
        spec: How the worker is made.
        resources: What this process may use.
        paths: Where the driver's modules are.
    """

    def __init__(self, spec: WorkerSpec, resources: Resources, paths: Sequence[str]) -> None:
        sys.path.extend(path for path in paths if path not in sys.path)
        self._is_running = self._is_told = False
        self._leave: Any = signal.signal(signal.SIGTERM, self._tell)
        self._worker = make_worker(spec, resources)

    def prepare(self, payload: Any) -> None:
        """Get ready for such a job."""
        if isinstance(self._worker, Preparable):
            self._worker.prepare(payload)

    def run(self, payload: Any) -> Ended:
        """Run one job."""
        self._is_running = True
        try:
            result = self._worker.run(payload)
            is_lost = isinstance(self._worker, Perishable) and self._worker.is_lost
            return Ended(result=result, is_leaving=self._is_told or is_lost)
        except Preempted as error:
            return Ended(failure=Failure(Cause.PREEMPTED, str(error)), is_leaving=True)
        finally:
            self._is_running = False

    def _tell(self, number: int, frame: FrameType | None) -> None:
        if not self._is_running:
            self._leave(number, frame)
        elif self._is_told:
            raise Preempted("the machine was taken away before the job came to a checkpoint")
        else:
            self._is_told = True
            if isinstance(self._worker, Preemptible):
                self._worker.preempt()
