"""The promise that every backend keeps, and the table of backends; no backend's own code."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Protocol, cast

from cluster.job import Job, JobEnded, Resources, WorkerSpec


class Backend(Protocol):
    """Where jobs run.

    Every backend promises:

    1. `submit` returns without waiting for the job to end.
    2. Every submitted job ends exactly once in what `wait` returns, unless it is cancelled first.
    3. `begun` tells of every job that gets a worker, once, and before its end; a job that waits
       for one is not running.
    4. A job that raises, crashes its process or is killed ends with a failure; it never takes
       another job, the backend or the caller with it.
    5. Jobs of equal resources run in warm processes: a worker is made once and serves many jobs.
    6. What runs at any moment fits the capacity.
    7. `cancel_all` ends running work soon, leaves no process behind that computes, and the
       backend can be used again; a cancelled job is never reported.
    8. `prepare` begins no job and takes nothing from one; what it got ready is of use to jobs of
       equal resources, or is given up for others.
    9. `close` may be called twice and leaves nothing running that this backend started.
    """

    @property
    def capacity(self) -> Resources:
        """All the resources that this backend can use at once."""

    def submit(self, job: Job) -> None:
        """Start a job, or queue it where its resources are taken."""

    def prepare(self, job: Job) -> None:
        """Get a worker ready, where one is free, for a job that will be submitted soon."""

    def begun(self) -> Sequence[str]:
        """Return the ids of the jobs that have got a worker since the last call."""

    def wait(self, timeout_s: float) -> Sequence[JobEnded]:
        """Return the jobs that ended since the last call; wait up to `timeout_s` for the first."""

    def cancel_all(self) -> None:
        """End every submitted job without reporting it."""

    def close(self) -> None:
        """Release all processes."""


BACKENDS = {
    "inline": "cluster.inline:InlineBackend",
    "ray": "cluster.ray_backend:RayBackend",
}
"""The backends by name -> `module:class`, each called with a :class:`WorkerSpec`."""


def open_backend(name: str, worker: WorkerSpec, **options: Any) -> Backend:
    """Return a backend by its name in :data:`BACKENDS`.

    Raises:
        KeyError: There is no such backend.
    """
    module, _, attribute = BACKENDS[name].partition(":")
    return cast(Backend, getattr(importlib.import_module(module), attribute)(worker, **options))
