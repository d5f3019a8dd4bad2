"""Warm Ray actors of every shape of resources: placed, idle or busy; not which job goes first.

An actor that is being placed holds no job. Where an autoscaler has to bring a node first, or
never does, what waits goes to whichever actor of its shape is ready first.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import ray
from ray.exceptions import RayError

from cluster.job import Job, Resources, WorkerSpec
from cluster.ray_process import FanflareWorker

GIB = 2**30

PLACING_S = 3.0
"""Seconds after which an actor that is not placed makes idle ones of other shapes go: what is free
in all may be free on no single node or device."""


@dataclass(eq=False)
class Actor:
    """One process on some node."""

    handle: Any
    shape: Resources
    since: float
    """When it was asked for, or when it became idle; seconds of the monotonic clock."""


@dataclass
class ShapePool:
    """The actors of one shape that run nothing."""

    placing: dict[Any, Actor] = field(default_factory=dict)
    """By the reference that is ready when they are; oldest first."""
    idle: deque[Actor] = field(default_factory=deque)
    """Those idle for longest first."""


class ActorPool:
    """Starts, lends and ends actors, and counts what they hold.

    Args:
        worker: How each process makes its worker.
        capacity: What all actors together may hold.
    """

    def __init__(self, worker: WorkerSpec, capacity: Resources) -> None:
        self._spec = worker
        self._class: Any = ray.remote(max_restarts=0)(FanflareWorker)
        self._free = capacity
        self._pools: dict[Resources, ShapePool] = defaultdict(ShapePool)
        self._placing: dict[Any, Actor] = {}
        self._preparing: dict[Any, Actor] = {}

    @property
    def placing(self) -> Mapping[Any, Actor]:
        """The actors that are being placed, by the reference that tells when they are ready."""
        return self._placing

    @property
    def preparing(self) -> Mapping[Any, Actor]:
        """The actors that get ready for jobs to come, likewise."""
        return self._preparing

    def take(self, shape: Resources) -> Actor | None:
        """Lend the actor that became idle last, so that the others' nodes can be given back."""
        idle = self._pools[shape].idle
        return idle.pop() if idle else None

    def give_back(self, actor: Actor) -> None:
        """Take an actor back: it is ready for the next job."""
        actor.since = time.monotonic()
        self._pools[actor.shape].idle.append(actor)

    def end(self, actor: Actor) -> None:
        """End an actor that is lent, or no longer alive."""
        ray.kill(actor.handle)
        self._hold(actor.shape, -1)

    def ask_for(self, shape: Resources, number: int) -> None:
        """Have at least so many actors of a shape placed, as far as there is room.

        Actors of other shapes make room that are idle, or get ready for jobs to come.
        """
        while len(self._pools[shape].placing) < number and self._make_room(shape):
            self._start(shape)

    def prepare(self, job: Job) -> None:
        """Have an actor placed for a job to come, if it fits, and get ready for it."""
        if job.resources.fits(self._free):
            actor = self._new(job.resources)
            self._preparing[actor.handle.prepare.remote(job.payload)] = actor

    def prepared(self, reference: Any) -> None:
        """Take in an actor that got ready; one that could not is ended, and no job is to blame."""
        actor = self._preparing.pop(reference)
        try:
            ray.get(reference)
        except RayError:
            self.end(actor)
        else:
            self.give_back(actor)

    def placed(self, reference: Any) -> RayError | None:
        """Note that an actor is ready, or return why it will never be."""
        actor = self._placing.pop(reference)
        del self._pools[actor.shape].placing[reference]
        try:
            ray.get(reference)
        except RayError as error:
            self.end(actor)
            return error
        self.give_back(actor)
        return None

    def trim(self, waiting: Mapping[Resources, Any], idle_s: float | None) -> None:
        """End actors for which there is no use, or that stand in the way of one being placed.

        Args:
            waiting: What waits for an actor of each shape; sized.
            idle_s: Seconds after which an unused actor is ended; None keeps it warm.
        """
        now = time.monotonic()
        oldest = now - (math.inf if idle_s is None else idle_s)
        late = {
            shape
            for shape, pool in self._pools.items()
            if waiting.get(shape) and _oldest(pool) < now - PLACING_S
        }
        for shape, pool in self._pools.items():
            is_in_the_way = bool(late - {shape})
            while pool.idle and (is_in_the_way or pool.idle[0].since < oldest):
                self.end(pool.idle.popleft())
            surplus = len(pool.placing) - len(waiting.get(shape, ()))
            for reference in list(islice(reversed(pool.placing), max(0, surplus))):
                if is_in_the_way or pool.placing[reference].since < oldest:
                    self._cancel(reference)
        for reference, actor in list(self._preparing.items()):
            if late - {actor.shape} or actor.since < oldest:
                self.end(self._preparing.pop(reference))

    def end_placing(self) -> None:
        """End all actors that are being placed, or get ready."""
        for reference in list(self._placing):
            self._cancel(reference)
        while self._preparing:
            self.end(self._preparing.popitem()[1])

    def end_idle(self) -> None:
        """End all actors that wait for a job."""
        for pool in self._pools.values():
            while pool.idle:
                self.end(pool.idle.pop())

    def _make_room(self, shape: Resources) -> bool:
        """Return whether a shape fits, after ending unused actors of other shapes if need be."""
        unused = self._unused_of_others(shape)
        while not shape.fits(self._free):
            actor = next(unused, None)
            if actor is None:
                return False
            self.end(actor)
        return True

    def _unused_of_others(self, shape: Resources) -> Iterator[Actor]:
        """Take out those that are idle, then those that get ready, one after another."""
        for other, pool in self._pools.items():
            while other != shape and pool.idle:
                yield pool.idle.popleft()
        for reference, actor in list(self._preparing.items()):
            if actor.shape != shape:
                yield self._preparing.pop(reference)

    def _start(self, shape: Resources) -> None:
        actor = self._new(shape)
        reference = actor.handle.__ray_ready__.remote()
        self._placing[reference] = self._pools[shape].placing[reference] = actor

    def _new(self, shape: Resources) -> Actor:
        options: dict[str, Any] = {"num_cpus": shape.num_cpus, "num_gpus": shape.num_gpus}
        if shape.memory_gib:
            options["memory"] = int(shape.memory_gib * GIB)
        paths = [os.path.abspath(path) for path in sys.path]  # noqa: PTH100 - '' is this folder
        handle = self._class.options(**options).remote(self._spec, shape, paths)
        self._hold(shape, 1)
        return Actor(handle, shape, time.monotonic())

    def _cancel(self, reference: Any) -> None:
        actor = self._placing.pop(reference)
        del self._pools[actor.shape].placing[reference]
        self.end(actor)

    def _hold(self, shape: Resources, times: int) -> None:
        self._free = self._free.minus(shape, times)


def _oldest(pool: ShapePool) -> float:
    """Return since when the oldest actor is being placed."""
    return next((actor.since for actor in pool.placing.values()), math.inf)
