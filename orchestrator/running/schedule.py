"""Decides which job runs next: a pure policy, without a clock, a backend or a file of its own."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from cluster.job import Resources
from orchestrator.planning.packing import PlannedJob

_Entry = tuple[float, int, PlannedJob]
"""What sorts it, when it came, and a job."""

WORK_IN_HAND = 4.5
"""Times the longest chain for which the work that is left has to keep all slots busy, so that the
order in which jobs start hardly moves the end."""

KEPT_BACK = 3
"""Of so many jobs for which nothing waits, one is kept for the end. Estimates are wrong: short jobs
fill what long ones leave, and the nearest to the end of their chain are the short ones."""

_KINDS = ("num_cpus", "num_gpus", "memory_gib")


class _Heads(NamedTuple):
    """The first jobs of one shape of resources, by either order."""

    longest: _Entry
    nearest: _Entry
    end_s: float
    """How long what is left takes on the busiest kind of resource that the shape needs."""


class Schedule:
    """The jobs of a plan, their dependencies, and what is free.

    A job is ready when all stages that it needs are finished. As long as there is much to do
    (:data:`WORK_IN_HAND`), those go first that are nearest to the end of their chain: results
    come early, and are written while others are computed. Then the one at the head of the longest
    chain of work goes first, so that all slots end together. Source of the latter: T. C. Hu,
    Parallel sequencing and assembly line problems, 1961 (highest level first). Where jobs differ
    in what they need, those go first that need the resource with the most work left for it, so
    that no accelerator is without work at the end.

    Args:
        jobs: What has to run.
        finished: Digests of stages that are finished already.
        capacity: What may be in use at once.
        max_concurrent: How many jobs may run at once.
    """

    def __init__(
        self,
        jobs: Sequence[PlannedJob],
        *,
        finished: Iterable[str],
        capacity: Resources,
        max_concurrent: int | None = None,
    ) -> None:
        self._finished = set(finished)
        self._capacity = self._free = capacity
        self._max_slots = max_concurrent if max_concurrent is not None else len(jobs) + 1_000_000
        self._free_slots = self._max_slots
        self._slots_left_s = 0.0
        self._left_s = dict.fromkeys(_KINDS, 0.0)
        """Seconds for which what has not begun keeps all of a kind of resource busy."""
        self._level_s = _levels(jobs)
        self._missing: dict[str, int] = {}
        """How many stages those jobs wait for that are not ready, by id."""
        self._waiting: dict[str, list[str]] = defaultdict(list)
        self._jobs: dict[str, PlannedJob] = {}
        """Those that have not begun, by id; another one in a heap has begun or was resized."""
        self._longest: dict[Resources, list[_Entry]] = defaultdict(list)
        self._nearest: dict[Resources, list[_Entry]] = defaultdict(list)
        self._num_added = 0
        self._running: dict[str, PlannedJob] = {}
        self._lent: dict[str, Resources] = {}
        for job in jobs:
            self.add(job)

    @property
    def num_running(self) -> int:
        """How many jobs have been started and have not ended."""
        return len(self._running)

    def add(self, job: PlannedJob) -> None:
        """Take in a job, a new one or another attempt."""
        self._count(job, 1)
        self._jobs[job.id] = job
        missing = job.needs - self._finished
        for digest in missing:
            self._waiting[digest].append(job.id)
        if missing:
            self._missing[job.id] = len(missing)
        else:
            self._push(job)

    def resize(self, resized: Callable[[PlannedJob], PlannedJob]) -> None:
        """Take in what the jobs that have not begun need now.

        Args:
            resized: Returns a job with other resources, or the same one.
        """
        for before in list(self._jobs.values()):
            job = resized(before)
            if job is not before:
                self._count(before, -1)
                self._count(job, 1)
                self._jobs[job.id] = job
                if job.id not in self._missing:
                    self._push(job)

    def start_next(self) -> PlannedJob | None:
        """Return the job to start now and count its resources as taken, or None."""
        if self._free_slots <= 0:
            return None
        heads = list(self._heads())
        if not heads:
            return None
        job = _choose(heads)
        del self._jobs[job.id]
        self._count(job, -1)
        self._running[job.id] = job
        self._take(job.resources, 1)
        return job

    def next_wave(self) -> list[PlannedJob]:
        """Return the jobs for which workers may get ready in what is free.

        They wait for nothing but running jobs, each of which leaves its own worker to one of them.
        """
        left = Counter(job.resources for job in self._running.values())
        running = {digest for job in self._running.values() for digest in job.stages}
        free = self._free
        wave: list[PlannedJob] = []
        for job in map(self._jobs.__getitem__, self._missing):
            if len(wave) >= self._free_slots:
                break
            if not job.resources.fits(free) or not job.needs - self._finished <= running:
                continue
            if left[job.resources]:
                left[job.resources] -= 1
            else:
                free = free.minus(job.resources)
                wave.append(job)
        return wave

    def lend_idle(self, job_id: str) -> int:
        """Return how many whole cores a running job may use besides its own, until it ends.

        They are those that no job is waiting for now.
        """
        num_idle = int(self._free.num_cpus)
        if num_idle < 1 or len(self._jobs) > len(self._missing):
            return 0
        self._lent[job_id] = Resources(num_cpus=num_idle)
        self._take(self._lent[job_id], 1, num_slots=0)
        return num_idle

    def end(self, job_id: str, finished: Iterable[str]) -> None:
        """Free a job's resources; the stages it finished make others ready."""
        self._take(self._running.pop(job_id).resources, -1)
        if job_id in self._lent:
            self._take(self._lent.pop(job_id), -1, num_slots=0)
        for digest in finished:
            self._level_s.pop(job_id, None)  # what is left of it, if anything, is another job
            self._finished.add(digest)
            for waiting in self._waiting.pop(digest, ()):
                if waiting not in self._missing:
                    continue  # dropped, since another stage that it needs has failed
                self._missing[waiting] -= 1
                if not self._missing[waiting]:
                    del self._missing[waiting]
                    self._push(self._jobs[waiting])

    def drop(self, failed: str) -> list[PlannedJob]:
        """Forget and return the jobs that wait for a failed stage."""
        dropped = [
            self._jobs.pop(waiting)
            for waiting in self._waiting.pop(failed, ())
            if self._missing.pop(waiting, None) is not None  # else it was dropped for another one
        ]
        for job in dropped:
            self._count(job, -1)
        return dropped

    def _push(self, job: PlannedJob) -> None:
        self._num_added += 1
        level_s = self._level_s.get(job.id, job.cost_s)
        heapq.heappush(self._longest[job.resources], (-level_s, self._num_added, job))
        is_kept_back = level_s == job.cost_s and self._num_added % KEPT_BACK == 0
        if not is_kept_back:
            heapq.heappush(self._nearest[job.resources], (level_s, self._num_added, job))

    def _heads(self) -> Iterator[_Heads]:
        """Yield the first ready jobs of every shape whose resources are free."""
        for shape, longest in self._longest.items():
            nearest = self._nearest[shape]
            for heap in (longest, nearest):
                while heap and self._jobs.get(heap[0][2].id) is not heap[0][2]:
                    heapq.heappop(heap)
            if longest and shape.fits(self._free):
                level_s, number, job = longest[0]
                first = nearest[0] if nearest else (-level_s, number, job)
                yield _Heads(longest[0], first, self._end_s(shape))

    def _end_s(self, shape: Resources) -> float:
        ends = [left_s for kind, left_s in self._left_s.items() if getattr(shape, kind)]
        return max([*ends, self._slots_left_s])

    def _count(self, job: PlannedJob, sign: int) -> None:
        """Count a job as left, or no longer."""
        self._slots_left_s += sign * job.cost_s / self._max_slots
        for kind in _KINDS:
            there = getattr(self._capacity, kind)
            if there:
                self._left_s[kind] += sign * job.cost_s * getattr(job.resources, kind) / there

    def _take(self, need: Resources, sign: int, num_slots: int = 1) -> None:
        self._free_slots -= sign * num_slots
        self._free = self._free.minus(need, sign)


def _choose(heads: Sequence[_Heads]) -> PlannedJob:
    """Return the head of the longest chain if the end is near, else what is nearest to its own."""
    longest = min(head.longest for head in heads)
    end_s = max(head.end_s for head in heads)
    if end_s <= WORK_IN_HAND * -longest[0]:
        return longest[2]
    return min(head.nearest for head in heads if head.end_s == end_s)[2]


def _levels(jobs: Sequence[PlannedJob]) -> dict[str, float]:
    """Return for each job the estimated seconds of the longest chain that begins with it."""
    home = {digest: job for job in jobs for digest in job.stages}
    followers: dict[str, list[PlannedJob]] = defaultdict(list)
    missing = {job.id: 0 for job in jobs}
    for job in jobs:
        for before in {home[digest].id for digest in job.needs if digest in home}:
            followers[before].append(job)
            missing[job.id] += 1
    order = [job for job in jobs if not missing[job.id]]
    for job in order:  # grows while it is walked: a topological order
        for follower in followers[job.id]:
            missing[follower.id] -= 1
            if not missing[follower.id]:
                order.append(follower)
    level_s: dict[str, float] = {}
    for job in reversed(order):
        after_s = max((level_s[follower.id] for follower in followers[job.id]), default=0.0)
        level_s[job.id] = job.cost_s + after_s
    return level_s
