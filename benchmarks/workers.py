"""How near the workers come to doing nothing but their jobs: 8 processes on jobs that sleep.

    python -m benchmarks.workers [--jobs 400] [--mean-s 0.5] [--rounds 3]

The jobs' lengths are skewed (log-normal) and the same for both sides. The share is that of the
lower bound on the makespan, the longer of the total work over the workers and the longest job. The
rival is Ray's own `ray.util.ActorPool` over as many plain actors, which gets the longest jobs
first, too. Both have their processes warm before the clock starts, and both take turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np
import ray
from ray.util import ActorPool

from cluster.job import Job, Resources, WorkerSpec
from cluster.ray_backend import RayBackend
from orchestrator.planning.packing import PlannedJob
from orchestrator.running.schedule import Schedule

NUM_WORKERS = 8
SHAPE = Resources(num_cpus=1)


class Sleeper:
    """Our side: a worker that sleeps as long as the payload says."""

    def __init__(self, *, resources: Resources) -> None:
        del resources

    def run(self, payload: float) -> float:
        """Sleep."""
        time.sleep(payload)
        return payload


@ray.remote(num_cpus=1)
class Actor:
    """Ray's side: the same, as an actor."""

    def run(self, payload: float) -> float:
        """Sleep."""
        time.sleep(payload)
        return payload


def fanflare(seconds: Sequence[float], backend: RayBackend) -> None:
    """Run the jobs as the driver does: the schedule decides, the backend runs."""
    jobs = [
        PlannedJob(
            id=str(number),
            stages=(str(number),),
            needs=frozenset(),
            cost_s=length,
            resources=SHAPE,
        )
        for number, length in enumerate(seconds)
    ]
    schedule = Schedule(jobs, finished=(), capacity=backend.capacity)
    while True:
        while (job := schedule.start_next()) is not None:
            backend.submit(Job(id=job.id, payload=job.cost_s, resources=job.resources))
        if not schedule.num_running:
            return
        for ended in backend.wait(0.5):
            schedule.end(ended.job_id, [ended.job_id])


def actor_pool(seconds: Sequence[float], pool: ActorPool) -> None:
    """Run the jobs, the longest first."""
    lengths = sorted(seconds, reverse=True)
    for _ in pool.map_unordered(lambda actor, length: actor.run.remote(length), lengths):
        pass


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=400)
    parser.add_argument("--mean-s", type=float, default=0.5, help="mean length of a job, seconds")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    lengths = np.random.default_rng(0).lognormal(0, 0.75, options.jobs)
    seconds = [float(s) for s in lengths * options.mean_s / lengths.mean()]
    bound_s = max(sum(seconds) / NUM_WORKERS, *seconds)
    ray.init(address="local", num_cpus=2 * NUM_WORKERS, include_dashboard=False,
             log_to_driver=False, logging_level="ERROR")  # fmt: skip
    spec = WorkerSpec(factory="benchmarks.workers:Sleeper")
    backend = RayBackend(spec, capacity=Resources(num_cpus=NUM_WORKERS))
    pool = ActorPool([Actor.remote() for _ in range(NUM_WORKERS)])
    warm_up = [0.5] * 4 * NUM_WORKERS  # long enough that every process gets some
    fanflare(warm_up, backend)
    actor_pool(warm_up, pool)
    shares: dict[str, list[float]] = {"fanflare": [], "ActorPool": []}
    for _ in range(options.rounds):
        started = time.perf_counter()
        fanflare(seconds, backend)
        middle = time.perf_counter()
        actor_pool(seconds, pool)
        shares["fanflare"].append(bound_s / (middle - started))
        shares["ActorPool"].append(bound_s / (time.perf_counter() - middle))
    backend.close()
    print(f"{options.jobs} jobs, {options.mean_s:g} s on average, {max(seconds):.1f} s at most, "
          f"{NUM_WORKERS} processes, bound {bound_s:.1f} s")  # fmt: skip
    for side, found in shares.items():
        told = " ".join(f"{share:.1%}" for share in found)
        print(f"{side:10} {statistics.median(found):6.1%} of the ideal (rounds: {told})")
    ratio = statistics.median(shares["fanflare"]) / statistics.median(shares["ActorPool"])
    print(f"ratio {ratio:.3f} (goal: 95 % of the ideal)")


if __name__ == "__main__":
    main()
