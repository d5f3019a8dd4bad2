"""What a large sweep asks of the driver: the schedule by a virtual clock, the plan, the loop.

    python -m benchmarks.scale [--parts schedule memory plan loop] [--jobs 100000] [--workers 1000]

`schedule` simulates (workload.py says what), `memory` counts what the schedule holds meanwhile,
`plan` plans the quickstart's probes with so many seeds that there are so many trials, and `loop`
takes as many through the driver's loop on a backend whose jobs end at once, without tracking.
"""

from __future__ import annotations

import argparse
import gc
import resource
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from benchmarks.noop import NOOP, NoopPipeline
from benchmarks.simulation import Fleet, Outcome, Trouble, simulate
from benchmarks.workload import Workload, sweep_like
from cluster.job import Job, JobEnded, Resources, State
from cluster.store import Store
from orchestrator.planning.grid import expand, parse
from orchestrator.planning.plan import Plan, Setting, make_plan, merge
from orchestrator.planning.sweep_file import SweepFile
from orchestrator.running import schedule
from orchestrator.running.journal import Journal
from orchestrator.running.loop import Driver
from orchestrator.running.outcome import StageOutcome
from orchestrator.running.progress import Progress
from orchestrator.running.tracking import NullTracker
from pipelines.contract import Node
from pipelines.pipeline import TrialSettings

TROUBLE = Trouble(failures=0.01, mean_present_s=1800.0, mean_away_s=120.0)
GPU_SHARE = 0.2
"""Of workers, and of encoders and trainings, those with and in need of an accelerator."""

PARTS = ("schedule", "memory", "plan", "loop")


@dataclass(frozen=True)
class LongNoopPipeline(NoopPipeline):
    """Trials that do nothing and are said to take long, so that each is a job of its own."""

    def graph(self, trial: TrialSettings) -> Node:
        """Return the one node."""
        return replace(super().graph(trial), stage=replace(NOOP, typical_s=60.0))


PIPELINE = LongNoopPipeline()


class EndsAtOnce:
    """A backend whose jobs end at once, all that it was given in one answer."""

    def __init__(self, capacity: Resources) -> None:
        self.capacity = capacity
        self._jobs: list[Job] = []
        self._begun: list[str] = []

    def submit(self, job: Job) -> None:
        """Take a job in."""
        self._jobs.append(job)
        self._begun.append(job.id)

    def prepare(self, job: Job) -> None:
        """There is nothing to get ready."""

    def begun(self) -> Sequence[str]:
        """Return the jobs that were taken in since the last call."""
        begun, self._begun = self._begun, []
        return begun

    def wait(self, timeout_s: float) -> Sequence[JobEnded]:
        """Return the ends of all jobs."""
        del timeout_s
        jobs, self._jobs = self._jobs, []
        return [JobEnded(job_id=job.id, result=_outcomes(job)) for job in jobs]

    def cancel_all(self) -> None:
        """Forget all jobs."""
        self._jobs.clear()

    def close(self) -> None:
        """There is nothing to release."""


class Silent:
    """An observer that shows nothing."""

    def changed(self, progress: Progress) -> None:
        """Ignore it."""

    def message(self, text: str) -> None:
        """Ignore it."""


def _outcomes(job: Job) -> list[StageOutcome]:
    value = {"metrics": {"validation/score": 0.5}}
    return [
        StageOutcome(digest=stage.digest, state=State.FINISHED, value=value, started_at=time.time())
        for stage in job.payload
    ]


def scenarios(num_jobs: int, num_workers: int, seed: int) -> list[tuple[str, Workload, Fleet]]:
    """Return sweeps by name: known and unknown durations, one kind of worker and two."""
    alike = Fleet(num_cpu=num_workers)
    num_gpu = round(GPU_SHARE * num_workers)
    mixed = Fleet(num_cpu=num_workers - num_gpu, num_gpu=num_gpu)
    return [
        ("estimates exact", sweep_like(num_jobs, seed=seed, estimate_sigma=0.0), alike),
        ("estimates wrong", sweep_like(num_jobs, seed=seed), alike),
        ("two kinds of worker", sweep_like(num_jobs, seed=seed, gpu_share=GPU_SHARE), mixed),
    ]


def half_done(workload: Workload, outcome: Outcome) -> float:
    """Return the part of the makespan by which half of the trials have ended."""
    ended_s = sorted(outcome.ended_s[trial] for trial in workload.trials & outcome.ended_s.keys())
    return ended_s[len(ended_s) // 2] / outcome.makespan_s


def measure_schedule(num_jobs: int, num_workers: int, seeds: Sequence[int]) -> None:
    """Print makespans against their bound, and what decisions cost."""
    print(f"{num_jobs} jobs, {num_workers} workers; times as simulated, decisions as measured")
    for seed in seeds:
        for name, workload, fleet in scenarios(num_jobs, num_workers, seed):
            for trouble in (None, TROUBLE):
                gc.collect()
                gc.freeze()  # the collector would walk the simulation's own objects again and again
                outcome = simulate(workload, fleet, trouble, seed=seed)
                gc.unfreeze()
                print(f"seed {seed}  {name:20}  {_told(workload, outcome)}", flush=True)


def _told(workload: Workload, outcome: Outcome) -> str:
    calls_s = sorted(outcome.decisions_s)
    return (
        f"makespan {outcome.makespan_s:6.0f} s, bound: work {outcome.work_bound_s:.0f}, chain "
        f"{outcome.chain_bound_s:.0f} ({outcome.excess:+.2%})   half of the trials by "
        f"{half_done(workload, outcome):.0%}   {outcome.num_failures} failures, "
        f"{outcome.num_preemptions} preemptions, {outcome.num_given_up} given up   "
        f"{sum(calls_s) / len(workload.jobs) * 1e6:.0f} us a job; a call: 99.9 % within "
        f"{calls_s[int(0.999 * len(calls_s))] * 1e3:.2f} ms, longest {calls_s[-1] * 1e3:.0f} ms"
    )


def measure_memory(num_jobs: int, num_workers: int) -> None:
    """Print what the schedule's own lines hold at the start, half-way and at the end."""
    workload = sweep_like(num_jobs, seed=0)
    own = tracemalloc.Filter(inclusive=True, filename_pattern=schedule.__file__)
    tracemalloc.start()

    def watch(_schedule: schedule.Schedule, num_ended: int) -> None:
        if num_ended in (0, len(workload.jobs) // 2, len(workload.jobs)):
            traces = tracemalloc.take_snapshot().filter_traces([own]).statistics("filename")
            size = sum(trace.size for trace in traces)
            print(
                f"schedule, {num_ended:6} of {len(workload.jobs)} jobs ended: "
                f"{size / 2**20:.1f} MiB, {size / len(workload.jobs):.0f} bytes a job",
                flush=True,
            )

    simulate(workload, Fleet(num_cpu=num_workers), watch=watch)
    tracemalloc.stop()


def measure_plan(num_trials: int, num_workers: int) -> None:
    """Print how long planning takes and how much memory it adds to the process."""
    before_kib = _peak_kib()
    clock = [time.perf_counter()]
    file = SweepFile.read(Path(__file__).parents[1] / "examples/quickstart.yaml")
    file.data["seeds"] = num_trials // 24  # six tasks, four points of the space
    sweep = parse(file)
    points = expand(sweep, file)
    clock.append(time.perf_counter())
    trials, nodes = merge(points)
    del points
    clock.append(time.perf_counter())
    plan = make_plan(sweep, trials, nodes, Setting(capacity=Resources(num_cpus=num_workers)))
    clock.append(time.perf_counter())
    expand_s, merge_s, pack_s = (end - start for start, end in pairwise(clock))
    print(
        f"plan of {len(trials)} trials, {len(nodes)} stages, {len(plan.jobs)} jobs: expand "
        f"{expand_s:.1f} s, merge {merge_s:.1f} s, pack {pack_s:.1f} s; "
        f"{(_peak_kib() - before_kib) / len(trials):.1f} KiB a trial"
    )


def measure_loop(num_trials: int, num_workers: int) -> None:
    """Print what a job costs the driver's loop, journal included, if nothing else takes time."""
    file = SweepFile(
        {
            "name": "loop",
            "pipeline": "benchmarks.scale:PIPELINE",
            "space": {"x": list(range(num_trials))},
            "metric": {"name": "score"},
        }
    )
    sweep = parse(file)
    capacity = Resources(num_cpus=num_workers)
    plan = make_plan(sweep, *merge(expand(sweep, file)), Setting(capacity=capacity))
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        began = time.perf_counter()
        num_finished = _run(plan, Store(folder), EndsAtOnce(capacity))
        elapsed_s = time.perf_counter() - began
    if num_finished != num_trials:
        raise SystemExit(f"{num_finished} of {num_trials} trials finished")
    print(
        f"loop: {len(plan.jobs)} jobs of one trial in {elapsed_s:.1f} s, "
        f"{elapsed_s / len(plan.jobs) * 1e6:.0f} us a job, {len(plan.jobs) / elapsed_s:.0f} jobs/s"
    )


def _run(plan: Plan, store: Store, backend: EndsAtOnce) -> int:
    journal = Journal(store, plan.sweep.name, time.time())
    driver = Driver(plan, store=store, journal=journal, tracker=NullTracker(), observer=Silent())
    driver.execute(plan.jobs, backend)
    journal.close()
    return sum(result.state is State.FINISHED for result in driver.all_results())


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--jobs", type=int, default=100_000, help="or trials")
    parser.add_argument("--workers", type=int, default=1_000)
    parser.add_argument("--seeds", type=int, default=3, help="sweeps to be simulated")
    options = parser.parse_args()
    if "plan" in options.parts:  # first: the peak of a process only grows
        measure_plan(options.jobs, options.workers)
    if "loop" in options.parts:
        measure_loop(options.jobs, options.workers)
    if "schedule" in options.parts:
        measure_schedule(options.jobs, options.workers, range(options.seeds))
    if "memory" in options.parts:
        measure_memory(options.jobs, options.workers)


if __name__ == "__main__":
    main()
