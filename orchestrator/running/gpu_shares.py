"""Which part of an accelerator jobs need, by what the run has measured so far; starts none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cluster.job import Cause
from orchestrator.planning.cost import Observation, Timings
from orchestrator.planning.gpu_sharing import gpu_share
from orchestrator.planning.packing import PlannedJob, need_of
from orchestrator.planning.plan import Plan, PlannedStage
from orchestrator.running.outcome import StageOutcome


class GpuShares:
    """Learns the peaks of stages, and tells what jobs that have not begun need.

    Args:
        plan: What runs; it knows what earlier runs have measured.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._whole = plan.sweep.resources.unshared()
        self._seen = Timings()

    def learn(self, observed: Iterable[Observation]) -> bool:
        """Take in what was measured; return whether some jobs need another part now."""
        if not self._plan.gpu_memory_gib:
            return False
        has_changed = False
        for seen in observed:
            before = self._share(seen.cost_keys)
            self._seen.observe_memory(seen.cost_keys, None, seen.alone_gpu_memory_gib)
            has_changed |= self._share(seen.cost_keys) != before
        return has_changed

    def resized(self, job: PlannedJob) -> PlannedJob:
        """Return a job with what it needs by all that is known."""
        if not job.resources.num_gpus:
            return job
        stages = [self._measured(self._plan.stages[digest]) for digest in job.stages]
        need = need_of(stages, self._whole, self._plan.gpu_memory_gib)
        return job if need == job.resources else replace(job, resources=need)

    def with_more_room(
        self, job: PlannedJob, failed: Iterable[StageOutcome]
    ) -> tuple[PlannedJob, list[Observation]]:
        """Return a job on a whole accelerator if the memory of its part of one ran out.

        Args:
            job: The job.
            failed: How those of its stages ended that failed.

        Returns:
            The job, and what that shows of the memory that such stages need.
        """
        if not 0 < job.resources.num_gpus < self._whole.num_gpus:
            return job, []
        room_gib = job.resources.num_gpus * self._plan.gpu_memory_gib
        stages = [
            self._plan.stages[outcome.digest]
            for outcome in failed
            if outcome.failure and outcome.failure.cause is Cause.OUT_OF_MEMORY
        ]
        lacking = [
            Observation(cost_keys=stage.cost_keys, peak_gpu_memory_gib=room_gib)
            for stage in stages
            if stage.stage.needs_accelerator
        ]
        return (replace(job, resources=self._whole) if lacking else job), lacking

    def _measured(self, stage: PlannedStage) -> PlannedStage:
        peaks = (stage.peak_gpu_memory_gib, self._seen.peak_gpu_memory_gib(stage.cost_keys))
        known = [peak_gib for peak_gib in peaks if peak_gib is not None]
        return replace(stage, peak_gpu_memory_gib=max(known, default=None))

    def _share(self, keys: tuple[str, ...]) -> tuple[float, ...]:
        memory_gib = self._plan.gpu_memory_gib
        return tuple(
            gpu_share(self._seen.peak_gpu_memory_gib((key,)), memory_gib) for key in keys[:-1]
        )
