"""Jobs on Ray, a private cluster or one of many nodes; not what the jobs compute."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import (
    ActorUnavailableError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
)

from cluster.actor_pool import GIB, Actor, ActorPool
from cluster.job import Cause, Failure, Job, JobEnded, Resources, WorkerSpec
from cluster.machine import local_resources
from cluster.ray_process import Ended

_NODE_DIED = "its node has died"
"""What Ray's message says; the error has no attribute for it."""


class RayBackend:
    """The backend `ray`: a private cluster on this machine, or one that is already there.

    Args:
        worker: How each process makes its worker.
        address: `local` starts Ray in this process's name and stops it again; anything else is
            passed to `ray.init`, as `auto` for the cluster of this machine or of this Ray job. A
            session that the caller already holds is joined and left alone.
        capacity: What the cluster has at most, where an autoscaler brings its nodes; by default
            what is there now.
        idle_s: Seconds after which a process without work is ended, so that an autoscaler can give
            its node back; None keeps all of them warm.
    """

    def __init__(
        self,
        worker: WorkerSpec,
        address: str = "local",
        *,
        capacity: Resources | None = None,
        idle_s: float | None = None,
    ) -> None:
        self._owns_ray = not ray.is_initialized()
        if self._owns_ray:
            _start_ray(address)
        self._is_declared = capacity is not None
        self.capacity = capacity or _present_resources()
        self._idle_s = idle_s
        self._pool = ActorPool(worker, self.capacity)
        self._waiting: dict[Resources, deque[Job]] = defaultdict(deque)
        self._running: dict[Any, tuple[Job, Actor]] = {}
        self._begun: list[str] = []

    def submit(self, job: Job) -> None:
        """Start a job on a warm actor, or queue it for the first of its shape that is ready."""
        self._waiting[job.resources].append(job)
        self._dispatch(job.resources)

    def prepare(self, job: Job) -> None:
        """Have another actor of the job's shape get ready where there is room beside all others.

        Not where an autoscaler would bring a node for it that waits for work, and is paid for.
        """
        if not self._is_declared:
            self._pool.prepare(job)

    def begun(self) -> Sequence[str]:
        """Return the jobs that were given to an actor since the last call."""
        begun, self._begun = self._begun, []
        return begun

    def wait(self, timeout_s: float) -> Sequence[JobEnded]:
        """Return the jobs that ended; wait up to `timeout_s` for the first."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._pool.trim(self._waiting, self._idle_s)
            self._dispatch_all()
            references = [*self._running, *self._pool.placing]
            if references or any(self._waiting.values()):
                references += self._pool.preparing
            if not references:
                return []
            left_s = max(0.0, deadline - time.monotonic())
            ready, rest = ray.wait(references, num_returns=1, timeout=left_s)
            if ready and rest:
                ready += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
            ended = [end for end in map(self._collect, ready) if end is not None]
            self._dispatch_all()
            if ended or not left_s:
                return ended

    def cancel_all(self) -> None:
        """Kill the actors that run something or are being placed; idle ones stay warm."""
        self._waiting.clear()
        self._begun.clear()
        for _, actor in self._running.values():
            self._pool.end(actor)
        self._running.clear()
        self._pool.end_placing()

    def close(self) -> None:
        """Kill all actors, and Ray itself where this backend started it."""
        if not ray.is_initialized():
            return
        self.cancel_all()
        self._pool.end_idle()
        if self._owns_ray:
            ray.shutdown()

    def _dispatch_all(self) -> None:
        for shape, waiting in self._waiting.items():
            if waiting:
                self._dispatch(shape)

    def _dispatch(self, shape: Resources) -> None:
        waiting = self._waiting[shape]
        while waiting and (actor := self._pool.take(shape)) is not None:
            job = waiting.popleft()
            self._running[actor.handle.run.remote(job.payload)] = (job, actor)
            self._begun.append(job.id)
        self._pool.ask_for(shape, len(waiting))

    def _collect(self, reference: Any) -> JobEnded | None:
        """Take in what is ready: the end of a job, or an actor that was placed."""
        if reference not in self._running:
            return self._placed(reference)
        job, actor = self._running.pop(reference)
        try:
            ended = ray.get(reference)
        except ActorUnavailableError:
            # Process, node or network? The next answer is its return, or why there will be none.
            self._running[actor.handle.__ray_ready__.remote()] = (job, actor)
            return None
        except RayTaskError as error:
            self._pool.give_back(actor)
            return JobEnded(job_id=job.id, failure=_failure(error))
        except RayError as error:
            self._pool.end(actor)
            return JobEnded(job_id=job.id, failure=_failure(error))
        if not isinstance(ended, Ended):
            self._pool.end(actor)
            lost = Failure(Cause.WORKER_DIED, "the connection to the worker was lost for a while")
            return JobEnded(job_id=job.id, failure=lost)
        if ended.is_leaving:
            self._pool.end(actor)
        else:
            self._pool.give_back(actor)
        return JobEnded(job_id=job.id, result=ended.result, failure=ended.failure)

    def _placed(self, reference: Any) -> JobEnded | None:
        """Note that an actor is ready; one that cannot be made is the failure of a waiting job."""
        if reference in self._pool.preparing:
            self._pool.prepared(reference)
            return None
        shape = self._pool.placing[reference].shape
        error = self._pool.placed(reference)
        if error is None or not self._waiting[shape]:
            return None
        failure = _failure(error)
        if failure.cause is Cause.PREEMPTED:
            return None  # no job was on it, and another actor takes its place
        return JobEnded(job_id=self._waiting[shape].popleft().id, failure=failure)


def _start_ray(address: str) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    logging.getLogger("ray").setLevel(logging.ERROR)  # it greets on every start
    options: dict[str, Any] = {"address": address}
    if address == "local":  # all of this is refused by a cluster that is there already
        machine = local_resources()
        options |= {
            "num_cpus": int(machine.num_cpus),
            "num_gpus": int(machine.num_gpus),
            "include_dashboard": False,
            "_node_ip_address": "127.0.0.1",
        }
    handler = signal.getsignal(signal.SIGTERM)
    is_main = threading.current_thread() is threading.main_thread()
    try:
        ray.init(**options, log_to_driver=False, logging_level="ERROR", configure_logging=False)
    except SystemExit:
        if is_main:  # a SIGTERM while Ray starts met Ray's own handler; it is for ours
            signal.signal(signal.SIGTERM, handler)
            signal.raise_signal(signal.SIGTERM)
        raise
    if is_main:
        signal.signal(signal.SIGTERM, handler)  # Ray has put its own there, which calls sys.exit


def _present_resources() -> Resources:
    total = ray.cluster_resources()
    return Resources(
        num_cpus=total.get("CPU", 0),
        num_gpus=total.get("GPU", 0),
        memory_gib=total.get("memory", 0) / GIB,
    )


def _failure(error: RayError) -> Failure:
    if isinstance(error, OutOfMemoryError):
        return Failure(Cause.OUT_OF_MEMORY, "the host ran out of memory and Ray ended the worker")
    if isinstance(error, NodeDiedError) or (isinstance(error, RayActorError) and error.preempted):
        return Failure(Cause.PREEMPTED, "the node of the worker is gone", str(error))
    text = str(error).strip()
    if isinstance(error, RayActorError) and _NODE_DIED in text:
        return Failure(Cause.PREEMPTED, "the node of the worker is gone", text)
    if isinstance(error, RayActorError) and error.actor_init_failed:
        return Failure(Cause.BUG, f"cannot make a worker: {text.splitlines()[-1]}", text)
    if isinstance(error, RayActorError):
        return Failure(Cause.WORKER_DIED, text.splitlines()[0], text)
    return Failure(Cause.BUG, text.splitlines()[-1][:2000] if text else repr(error), text)
