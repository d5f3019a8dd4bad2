"""Jobs in this very process, one after another: for debugging, tests and small machines."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Sequence
from typing import Any

from cluster.job import Cause, Failure, Job, JobEnded, Resources, WorkerSpec
from cluster.machine import local_resources
from cluster.worker import make_worker


class InlineBackend:
    """The backend `inline`: a breakpoint in a stage stops here, and its crash is this crash."""

    def __init__(self, worker: WorkerSpec) -> None:
        self.capacity = local_resources()
        self._spec = worker
        self._workers: dict[Resources, Any] = {}
        self._queue: deque[Job] = deque()
        self._begun: Job | None = None

    def submit(self, job: Job) -> None:
        """Queue a job; it runs inside :meth:`wait`."""
        self._queue.append(job)

    def prepare(self, job: Job) -> None:
        """Do nothing: this process gets ready when it comes to the job."""

    def begun(self) -> Sequence[str]:
        """Return the job that :meth:`wait` runs next."""
        if not self._queue or self._queue[0] is self._begun:
            return []
        self._begun = self._queue[0]
        return [self._begun.id]

    def wait(self, timeout_s: float) -> Sequence[JobEnded]:
        """Run the oldest job to its end, whatever the timeout."""
        if not self._queue:
            return []
        job = self._queue.popleft()
        try:
            return [JobEnded(job_id=job.id, result=self._worker(job.resources).run(job.payload))]
        except (Exception, SystemExit) as error:  # noqa: BLE001 - promise 4: a failing job is data
            failure = Failure(Cause.BUG, repr(error), traceback.format_exc())
            return [JobEnded(job_id=job.id, failure=failure)]

    def cancel_all(self) -> None:
        """Forget the jobs that wait; none runs outside :meth:`wait`."""
        self._queue.clear()

    def close(self) -> None:
        """Release the workers."""
        self.cancel_all()
        self._workers.clear()

    def _worker(self, resources: Resources) -> Any:
        if resources not in self._workers:
            self._workers[resources] = make_worker(self._spec, resources)
        return self._workers[resources]
