"""Jobs on Ray: warm actors, one pool for each shape of resources; not what the jobs compute."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import (
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)

from cluster.job import Cause, Failure, Job, JobEnded, Resources, WorkerSpec
from cluster.machine import local_resources
from cluster.worker import make_worker

_GIB = 2**30


class _Process:
    """What runs in a Ray worker process: one worker, made once."""

    def __init__(self, spec: WorkerSpec, resources: Resources, paths: Sequence[str]) -> None:
        sys.path.extend(path for path in paths if path not in sys.path)
        self._worker = make_worker(spec, resources)

    def run(self, payload: Any) -> Any:
        """Run one job."""
        return self._worker.run(payload)


class RayBackend:
    """The backend `ray`: a private cluster on this machine, or one that is already there.

    Args:
        worker: How each process makes its worker.
        address: `local` starts Ray in this process's name and stops it again; anything else is
            passed to `ray.init`. A session that the caller already holds is joined and left alone.
    """

    def __init__(self, worker: WorkerSpec, address: str = "local") -> None:
        self._spec = worker
        self._owns_ray = not ray.is_initialized()
        if self._owns_ray:
            _start_ray(address)
        total = ray.cluster_resources()
        self.capacity = Resources(
            num_cpus=total.get("CPU", 0),
            num_gpus=total.get("GPU", 0),
            memory_gib=total.get("memory", 0) / _GIB,
        )
        self._queue: deque[Job] = deque()
        self._idle: dict[Resources, list[Any]] = defaultdict(list)
        self._running: dict[Any, tuple[Job, Any]] = {}

    def submit(self, job: Job) -> None:
        """Start a job on a warm actor, or queue it."""
        self._queue.append(job)
        self._dispatch()

    def wait(self, timeout_s: float) -> Sequence[JobEnded]:
        """Return the jobs that ended; wait up to `timeout_s` for the first."""
        self._dispatch()
        self._make_room_on_devices()
        if not self._running:
            return []
        running = list(self._running)
        ready, rest = ray.wait(running, num_returns=1, timeout=timeout_s)
        if ready and rest:
            ready += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        ended = [self._collect(reference) for reference in ready]
        self._dispatch()
        return ended

    def cancel_all(self) -> None:
        """Kill the actors that run something; idle ones stay warm."""
        self._queue.clear()
        for _, actor in self._running.values():
            ray.kill(actor)
        self._running.clear()

    def close(self) -> None:
        """Kill all actors, and Ray itself where this backend started it."""
        if not ray.is_initialized():
            return
        self.cancel_all()
        for actor in [actor for pool in self._idle.values() for actor in pool]:
            ray.kill(actor)
        self._idle.clear()
        if self._owns_ray:
            ray.shutdown()

    def _dispatch(self) -> None:
        waiting: deque[Job] = deque()
        while self._queue:
            job = self._queue.popleft()
            actor = self._take_actor(job.resources)
            if actor is None:
                waiting.append(job)
            else:
                self._running[actor.run.remote(job.payload)] = (job, actor)
        self._queue = waiting

    def _take_actor(self, resources: Resources) -> Any:
        """Return a warm actor, a new one, or None where the resources are taken."""
        if self._idle[resources]:
            return self._idle[resources].pop()
        busy = [job.resources for job, _ in self._running.values()]
        if not resources.fits(_subtract(self.capacity, busy)):
            return None
        idle = [shape for shape, pool in self._idle.items() for _ in pool]
        while idle and not resources.fits(_subtract(self.capacity, busy + idle)):
            ray.kill(self._idle[idle.pop()].pop())  # an idle actor of another shape is in the way
        options: dict[str, Any] = {
            "num_cpus": resources.num_cpus,
            "num_gpus": resources.num_gpus,
            "max_restarts": 0,
        }
        if resources.memory_gib:
            options["memory"] = int(resources.memory_gib * _GIB)
        paths = [os.path.abspath(path) for path in sys.path]  # noqa: PTH100 - '' is this folder
        return ray.remote(**options)(_Process).remote(self._spec, resources, paths)

    def _make_room_on_devices(self) -> None:
        """End the idle actors that hold part of an accelerator while others need another part.

        What is free of two devices together may be free of neither: the actor that Ray has not
        placed yet would wait for idle ones for ever.
        """
        needed = {job.resources.num_gpus for job, _ in self._running.values()} - {0}
        for shape, pool in self._idle.items():
            while shape.num_gpus and needed - {shape.num_gpus} and pool:
                ray.kill(pool.pop())

    def _collect(self, reference: Any) -> JobEnded:
        job, actor = self._running.pop(reference)
        try:
            result = ray.get(reference)
        except RayError as error:
            if not isinstance(error, RayTaskError):
                ray.kill(actor)
            else:
                self._idle[job.resources].append(actor)
            return JobEnded(job_id=job.id, failure=_failure(error))
        self._idle[job.resources].append(actor)
        return JobEnded(job_id=job.id, result=result)


def _start_ray(address: str) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    logging.getLogger("ray").setLevel(logging.ERROR)  # it greets on every start
    options: dict[str, Any] = {"address": address}
    if address == "local":
        machine = local_resources()
        options |= {
            "num_cpus": int(machine.num_cpus),
            "num_gpus": int(machine.num_gpus),
            "include_dashboard": False,
            "_node_ip_address": "127.0.0.1",
        }
    handler = signal.getsignal(signal.SIGTERM)
    ray.init(**options, log_to_driver=False, logging_level="ERROR", configure_logging=False)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray has put its own there, which calls sys.exit


def _subtract(capacity: Resources, taken: Sequence[Resources]) -> Resources:
    # Rounded, so that five times 0.4 is 2.
    return Resources(
        num_cpus=round(capacity.num_cpus - sum(part.num_cpus for part in taken), 6),
        num_gpus=round(capacity.num_gpus - sum(part.num_gpus for part in taken), 6),
        memory_gib=round(capacity.memory_gib - sum(part.memory_gib for part in taken), 6),
    )


def _failure(error: RayError) -> Failure:
    if isinstance(error, OutOfMemoryError):
        return Failure(Cause.OUT_OF_MEMORY, "the host ran out of memory and Ray ended the worker")
    if isinstance(error, NodeDiedError) or (isinstance(error, RayActorError) and error.preempted):
        return Failure(Cause.PREEMPTED, "the node of the worker is gone", str(error))
    text = str(error).strip()
    if isinstance(error, RayActorError) and error.actor_init_failed:
        return Failure(Cause.BUG, f"cannot make a worker: {text.splitlines()[-1]}", text)
    if isinstance(error, RayActorError):
        return Failure(Cause.WORKER_DIED, text.splitlines()[0], text)
    return Failure(Cause.BUG, text.splitlines()[-1][:2000] if text else repr(error), text)
