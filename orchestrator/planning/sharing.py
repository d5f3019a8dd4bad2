"""What the cohorts of a plan share and save, put together for people; decides nothing."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from orchestrator.planning.cohorts import PlannedCohort
from orchestrator.planning.plan import Plan
from orchestrator.planning.trial import Trial


@dataclass(frozen=True, kw_only=True)
class SharedGroup:
    """One cohort of a plan, and who is in it."""

    cohort: PlannedCohort
    stage: str
    """The name of the stage that its members compute together."""
    methods: tuple[str, ...]
    """The methods of its trials; empty where the pipeline has none."""
    models: tuple[str, ...]
    """The names of the models of its trials; empty where the pipeline takes none."""
    tasks: tuple[str, ...]
    """The names of the tasks of its trials; empty where the pipeline takes none."""
    num_trials: int
    """How many trials that are to run rest on it."""
    jobs: tuple[str, ...]
    """The ids of its jobs: each does once what its members share."""

    @property
    def num_saved(self) -> int:
        """How many executions of the stage are saved."""
        return len(self.cohort.stages) - len(self.jobs)

    @property
    def saved_s(self) -> float:
        """Estimated seconds of compute saved, each job doing once what its members share."""
        again_s = self.cohort.fixed_s * (len(self.jobs) - 1)
        return max(0.0, self.cohort.alone_s - self.cohort.together_s - again_s)


def shared_groups(plan: Plan) -> list[SharedGroup]:
    """Return the cohorts of a plan with their trials and jobs, in the order of the stages.

    One whose members were split over the slots, each alone in a job, shares nothing: left out.
    """
    home = {digest: cohort.id for cohort in plan.cohorts for digest in cohort.stages}
    trials: dict[str, list[Trial]] = defaultdict(list)
    for trial in plan.trials:
        if not plan.is_known(trial) and plan.skipped_for(trial) is None:
            for cohort_id in {home[digest] for digest in trial.stages if digest in home}:
                trials[cohort_id].append(trial)
    jobs: dict[str, list[str]] = defaultdict(list)
    for job in plan.jobs:
        for cohort_id in {home[digest] for digest in job.stages if digest in home}:
            jobs[cohort_id].append(job.id)
    order = plan.stage_names
    groups = [
        SharedGroup(
            cohort=cohort,
            stage=plan.stages[cohort.stages[0]].stage.name,
            methods=tuple(sorted({trial.method for trial in trials[cohort.id]} - {""})),
            models=tuple(sorted({trial.model for trial in trials[cohort.id]} - {""})),
            tasks=tuple(sorted({trial.task for trial in trials[cohort.id]} - {""})),
            num_trials=len(trials[cohort.id]),
            jobs=tuple(jobs[cohort.id]),
        )
        for cohort in plan.cohorts
    ]
    groups = [group for group in groups if group.num_saved]
    return sorted(groups, key=lambda group: order.index(group.stage))
