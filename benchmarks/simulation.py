"""The real schedule under a virtual clock: workers and mishaps are made up, its orders are not."""

from __future__ import annotations

import heapq
import math
import random
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.workload import CPU, GPU, Workload
from cluster.job import Cause, Resources
from orchestrator.planning.packing import PlannedJob
from orchestrator.running.loop import MAX_RETRIES
from orchestrator.running.schedule import Schedule

CHECKPOINT_S = 60.0
"""So often a job keeps what it has done, as trainings do."""


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Workers that take one job each; those with an accelerator take jobs without, if need be."""

    num_cpu: int
    num_gpu: int = 0

    @property
    def capacity(self) -> Resources:
        """What all of them have."""
        return Resources(num_cpus=self.num_cpu + self.num_gpu, num_gpus=self.num_gpu)


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What goes wrong."""

    failures: float = 0.0
    """The part of attempts that die half-way, at a moment drawn evenly."""
    mean_present_s: float = math.inf
    """How long a worker stays before its machine is taken away, on average; exponential."""
    mean_away_s: float = 120.0


@dataclass(kw_only=True)
class Outcome:
    """What a simulated sweep came to."""

    makespan_s: float = 0.0
    work_bound_s: float = 0.0
    """The earliest time by which the workers that were there could have done all work, lost work
    included, had none ever been idle."""
    chain_bound_s: float = 0.0
    """What the longest chain took in its jobs, lost work included."""
    ended_s: dict[str, float] = field(default_factory=dict)
    lost_s: float = 0.0
    num_attempts: int = 0
    num_failures: int = 0
    num_preemptions: int = 0
    num_given_up: int = 0
    decisions_s: list[float] = field(default_factory=list)
    """Seconds of each call of the schedule, by a real clock."""

    @property
    def excess(self) -> float:
        """How much longer than the larger bound it took, as a part of that."""
        return self.makespan_s / max(self.work_bound_s, self.chain_bound_s) - 1


def simulate(
    workload: Workload,
    fleet: Fleet,
    trouble: Trouble | None = None,
    *,
    seed: int = 0,
    watch: Callable[[Schedule, int], None] | None = None,
) -> Outcome:
    """Run a workload to its end.

    Args:
        workload: What to do.
        fleet: Who does it.
        trouble: What goes wrong; by default nothing.
        seed: Of the mishaps.
        watch: Called with the schedule and the number of jobs ended, at the start and after each.
    """
    simulation = _Simulation(workload, fleet, trouble or Trouble(), seed)
    simulation.run(watch or (lambda _schedule, _num_ended: None))
    return simulation.outcome


class _Simulation:
    """Discrete events. A worker is a number; the first ones have an accelerator.

    As under Ray, jobs that the schedule has started wait for a worker while machines are away.
    """

    def __init__(self, workload: Workload, fleet: Fleet, trouble: Trouble, seed: int) -> None:
        self.outcome = Outcome()
        self._workload = workload
        self._num_gpu = fleet.num_gpu
        self._trouble = trouble
        self._chance = random.Random(seed)
        self._now_s = 0.0
        self._events: list[tuple[float, int, Callable[[int], None], int, int]] = []
        """When, a number that none else has, what, to which worker, in which attempt if in one."""
        self._num_events = 0
        size = fleet.num_cpu + fleet.num_gpu
        self._idle = {CPU: list(range(fleet.num_gpu, size)), GPU: list(range(fleet.num_gpu))}
        self._waiting: dict[Resources, deque[PlannedJob]] = {CPU: deque(), GPU: deque()}
        self._busy: dict[int, tuple[PlannedJob, float, int]] = {}
        """Job, when it began, and the number of the attempt, by worker."""
        self._presence = {CPU: [(0.0, fleet.num_cpu)], GPU: [(0.0, fleet.num_gpu)]}
        """When how many workers came, or went if negative."""
        self._left_s = dict(workload.duration_s)
        self._spent_s: dict[str, float] = defaultdict(float)
        self._failures: dict[str, int] = defaultdict(int)
        self._schedule = Schedule(workload.jobs, finished=(), capacity=fleet.capacity)
        for worker in range(size):
            self._leaves_later(worker)

    def run(self, watch: Callable[[Schedule, int], None]) -> None:
        """Walk from event to event."""
        watch(self._schedule, 0)
        self._start()
        while self._schedule.num_running:
            self._now_s, _, happen, worker, attempt = heapq.heappop(self._events)
            if attempt and (worker not in self._busy or self._busy[worker][2] != attempt):
                continue  # its machine was taken away in the meantime
            happen(worker)
            self._start()
            watch(self._schedule, len(self.outcome.ended_s))
        self.outcome.makespan_s = max(self.outcome.ended_s.values(), default=0.0)
        self.outcome.work_bound_s = self._work_bound_s()
        self.outcome.chain_bound_s = longest_chain_s(self._workload.jobs, self._spent_s)
        self.outcome.lost_s = sum(self._spent_s.values()) - sum(
            self._workload.duration_s[job] for job in self.outcome.ended_s
        )

    def _start(self) -> None:
        """Start what the schedule says, and hand what waits to workers that are there."""
        while (job := self._timed(self._schedule.start_next)) is not None:
            self._waiting[job.resources].append(job)
        for need, having in ((GPU, GPU), (CPU, CPU), (CPU, GPU)):
            while self._waiting[need] and self._idle[having]:
                self._begin(self._waiting[need].popleft(), self._idle[having].pop())

    def _begin(self, job: PlannedJob, worker: int) -> None:
        self.outcome.num_attempts += 1
        self._busy[worker] = (job, self._now_s, self.outcome.num_attempts)
        left_s = self._left_s[job.id]
        if self._chance.random() < self._trouble.failures:
            self._after(left_s * self._chance.random(), self._fail, worker)
        else:
            self._after(left_s, self._finish, worker)

    def _finish(self, worker: int) -> None:
        job = self._free(worker)
        self._idle[self._kind(worker)].append(worker)
        self.outcome.ended_s[job.id] = self._now_s
        self._timed(self._schedule.end, job.id, job.stages)

    def _fail(self, worker: int) -> None:
        """The process dies and another takes its place; its job is tried again, not for ever."""
        job = self._broken_off(worker)
        self._idle[self._kind(worker)].append(worker)
        self.outcome.num_failures += 1
        self._failures[job.id] += 1
        self._timed(self._schedule.end, job.id, ())
        if self._failures[job.id] <= MAX_RETRIES[Cause.WORKER_DIED]:
            self._timed(self._schedule.add, job)
            return
        given_up = [job]
        for one in given_up:  # grows while it is walked
            given_up += self._timed(self._schedule.drop, one.id)
        self.outcome.num_given_up += len(given_up)

    def _leave(self, worker: int) -> None:
        """The machine is taken away, and comes back; its job goes on elsewhere."""
        self._presence[self._kind(worker)].append((self._now_s, -1))
        if worker in self._busy:
            self.outcome.num_preemptions += 1
            job = self._broken_off(worker)
            self._timed(self._schedule.end, job.id, ())
            self._timed(self._schedule.add, job)
        else:
            self._idle[self._kind(worker)].remove(worker)
        away_s = self._chance.expovariate(1 / self._trouble.mean_away_s)
        self._after(away_s, self._return, worker)

    def _return(self, worker: int) -> None:
        self._presence[self._kind(worker)].append((self._now_s, 1))
        self._idle[self._kind(worker)].append(worker)
        self._leaves_later(worker)

    def _leaves_later(self, worker: int) -> None:
        if self._trouble.mean_present_s < math.inf:
            present_s = self._chance.expovariate(1 / self._trouble.mean_present_s)
            self._after(present_s, self._leave, worker)

    def _broken_off(self, worker: int) -> PlannedJob:
        """Free a worker; its job keeps what it had done at its last checkpoint."""
        done_s = self._now_s - self._busy[worker][1]
        job = self._free(worker)
        self._left_s[job.id] -= done_s // CHECKPOINT_S * CHECKPOINT_S
        return job

    def _free(self, worker: int) -> PlannedJob:
        job, begun_s, _ = self._busy.pop(worker)
        self._spent_s[job.id] += self._now_s - begun_s
        return job

    def _kind(self, worker: int) -> Resources:
        return GPU if worker < self._num_gpu else CPU

    def _after(self, delay_s: float, happen: Callable[[int], None], worker: int) -> None:
        attempt = self._busy[worker][2] if worker in self._busy else 0
        self._num_events += 1
        event = (self._now_s + delay_s, self._num_events, happen, worker, attempt)
        heapq.heappush(self._events, event)

    def _timed(self, call: Callable[..., Any], *arguments: Any) -> Any:
        begun = time.perf_counter()
        result = call(*arguments)
        self.outcome.decisions_s.append(time.perf_counter() - begun)
        return result

    def _work_bound_s(self) -> float:
        """Accelerators have to do what needs one, and all workers together have to do all."""
        spent_on_gpu_s = sum(
            self._spent_s[job.id] for job in self._workload.jobs if job.resources == GPU
        )
        everyone = sorted(self._presence[CPU] + self._presence[GPU])
        return max(
            _earliest_s(everyone, sum(self._spent_s.values())),
            _earliest_s(self._presence[GPU], spent_on_gpu_s),
        )


def _earliest_s(presence: Sequence[tuple[float, int]], work_s: float) -> float:
    """Return when workers that come and go can have done so much work at the earliest."""
    num_present, at_s = 0, 0.0
    for next_s, change in [*presence, (math.inf, 0)]:
        if work_s <= num_present * (next_s - at_s):
            break
        work_s -= num_present * (next_s - at_s)
        num_present, at_s = num_present + change, next_s
    return at_s + (work_s / num_present if work_s else 0.0)


def longest_chain_s(jobs: Sequence[PlannedJob], spent_s: Mapping[str, float]) -> float:
    """Return the seconds of the longest chain of jobs that need each other; one stage a job."""
    by_id = {job.id: job for job in jobs}
    end_s: dict[str, float] = {}

    def earliest_end_s(job: PlannedJob) -> float:
        if job.id not in end_s:
            before_s = (earliest_end_s(by_id[needed]) for needed in job.needs)
            end_s[job.id] = max(before_s, default=0.0) + spent_s.get(job.id, 0.0)
        return end_s[job.id]

    return max(map(earliest_end_s, jobs), default=0.0)
