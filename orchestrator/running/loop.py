"""The one loop where plan, schedule, backend, journal and tracker meet.

Jobs go down, outcomes come up. The driver is the only writer of the journal and of the
tracker; what it does not know by the journal it knows by the store.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from cluster.backend import Backend
from cluster.job import Cause, Failure, Job, JobEnded, State
from cluster.store import Store
from orchestrator.planning.cost import Observation
from orchestrator.planning.packing import PlannedJob, split, without
from orchestrator.planning.plan import Plan
from orchestrator.planning.trial import Trial, TrialResult
from orchestrator.running.gpu_shares import GpuShares
from orchestrator.running.journal import Event, Journal
from orchestrator.running.outcome import StageOutcome
from orchestrator.running.progress import Observer, Progress
from orchestrator.running.results import failed_result, outcomes_in_store, trial_result
from orchestrator.running.schedule import Schedule
from orchestrator.running.tracking import Tracker

MAX_RETRIES = {
    Cause.OUT_OF_MEMORY: 1,
    Cause.WORKER_DIED: 2,
    Cause.STORE: 1,
    Cause.PREEMPTED: 20,
}
"""New attempts by cause. A bug, bad input or a diverged loss would only come again; a preempted
machine is not the job's fault."""

POLL_S = 0.5
"""How long the loop waits for a job before it looks at anything else."""


class Driver:
    """Executes the jobs of one plan and hands every trial's end to the tracker, once.

    Args:
        plan: What to do.
        store: Where results are.
        journal: Where events are written.
        tracker: Who shows results to people.
        observer: Who watches.
    """

    def __init__(
        self, plan: Plan, *, store: Store, journal: Journal, tracker: Tracker, observer: Observer
    ) -> None:
        self._plan = plan
        self._store = store
        self._journal = journal
        self._tracker = tracker
        self._observer = observer
        self.progress = Progress.of(plan)
        self.results: dict[str, TrialResult] = {}
        """By trial id, without curves: what a finished trial costs the driver's memory."""
        self._shares = GpuShares(plan)
        self.observed: list[Observation] = []
        """What stages have cost, for the estimates of later plans."""
        self._finished = set(plan.known)
        self._shared: dict[str, StageOutcome] = {}
        self._own: dict[str, StageOutcome] = {}
        self._attempts: dict[str, int] = defaultdict(int)
        self._failed: dict[tuple[str, Cause], int] = defaultdict(int)
        """How often each stage failed by each cause: being preempted uses up no other retry."""
        self._trial_of = {trial.result_digest: trial for trial in plan.trials}
        self._jobs: dict[str, PlannedJob] = {}
        """Those that were given to the backend, by id."""
        self._begun: set[str] = set()
        """The ids of those that have a worker."""
        self._failures: dict[str, Event] = {}

    def record_known(self) -> None:
        """Hand the trials that need no work to the tracker; note those that are skipped."""
        for trial in self._plan.trials:
            if (failure := self._plan.skipped_for(trial)) is not None:
                self.results[trial.id] = _unfinished(trial, State.FAILED, failure)
                self.progress.trial_ended(self.results[trial.id], known=False)
        known = [trial for trial in self._plan.trials if self._plan.is_known(trial)]
        for batch in (known[start : start + 200] for start in range(0, len(known), 200)):
            digests = {digest for trial in batch for digest in trial.stages}
            outcomes = outcomes_in_store(self._store, digests)
            for trial in batch:
                self._trial_ended(trial_result(trial, self._plan, outcomes), known=True)

    def execute(self, jobs: Sequence[PlannedJob], backend: Backend) -> None:
        """Run jobs to their end; returns when none is left that can run.

        Raises:
            OSError: The journal cannot be written.
        """
        schedule = Schedule(
            jobs,
            finished=self._finished,
            capacity=backend.capacity,
            max_concurrent=self._plan.sweep.max_concurrent,
        )
        self._start_ready(schedule, backend)
        for job in schedule.next_wave():
            backend.prepare(self._job(job))
        while schedule.num_running:
            ended = backend.wait(POLL_S)
            self._note_begun(backend.begun())
            for each in ended:
                self._end(each, schedule)
            self._start_ready(schedule, backend)

    def all_results(self) -> list[TrialResult]:
        """Return a result for every trial of the plan; what did not end counts as killed."""
        return [
            self.results.get(trial.id) or _unfinished(trial, State.KILLED, None)
            for trial in self._plan.trials
        ]

    def _scales(self, job: PlannedJob) -> bool:
        stages = [self._plan.stages[digest] for digest in job.stages]
        return self._plan.sweep.sharing == "on" and any(stage.scales for stage in stages)

    def _start_ready(self, schedule: Schedule, backend: Backend) -> None:
        while (job := schedule.start_next()) is not None:
            for digest in job.stages:
                self._attempts[digest] += 1
            self._jobs[job.id] = job
            spare_cpus = schedule.lend_idle(job.id) if self._scales(job) else 0
            backend.submit(self._job(job, spare_cpus))
        self._note_begun(backend.begun())
        self._journal.flush_if_due()
        self._observer.changed(self.progress)

    def _job(self, job: PlannedJob, spare_cpus: int = 0) -> Job:
        stages = [self._plan.stages[digest] for digest in job.stages]
        payload = [replace(s, spare_cpus=spare_cpus) if s.scales else s for s in stages]
        return Job(id=job.id, payload=payload, resources=job.resources)

    def _note_begun(self, job_ids: Iterable[str]) -> None:
        for job_id in job_ids:
            job = self._jobs[job_id]
            attempt = max(self._attempts[digest] for digest in job.stages)
            self._note("job_started", job, job.stages, attempt=attempt)
            self.progress.job_started(self._names(job.stages))
            self._begun.add(job_id)

    def _end(self, ended: JobEnded, schedule: Schedule) -> None:
        if ended.job_id not in self._begun:
            self._note_begun([ended.job_id])  # no worker could be made for it
        self._begun.remove(ended.job_id)
        job = self._jobs.pop(ended.job_id)
        outcomes: Sequence[StageOutcome] = ended.result or [
            StageOutcome(digest=digest, state=State.FAILED, failure=ended.failure)
            for digest in job.stages
        ]
        if ended.failure is not None and ended.failure.cause is Cause.OUT_OF_MEMORY:
            self._remember_limit(job)
        keys = {digest: self._plan.stages[digest].cost_keys for digest in job.stages}
        observed = [outcome.observation(keys[outcome.digest]) for outcome in outcomes]
        self.observed += observed
        if self._shares.learn(observed):
            schedule.resize(self._resized)
        finished = [outcome for outcome in outcomes if outcome.state is State.FINISHED]
        failed = {o.digest: o for o in outcomes if o.state is not State.FINISHED}
        again = self._to_retry(failed)
        lost = [outcome for digest, outcome in failed.items() if digest not in again]
        self.progress.job_ended(
            self._names(job.stages),
            {
                State.FINISHED: self._names(outcome.digest for outcome in finished),
                State.FAILED: self._names(outcome.digest for outcome in lost),
            },
            job.cost_s,
        )
        for outcome in finished:
            self._stage_finished(outcome, job)
        schedule.end(job.id, [outcome.digest for outcome in finished])
        unfinished = {d: self._plan.stages[d] for d in job.stages if d in again}
        roomier, lacking = self._shares.with_more_room(job, failed.values())
        self.observed += lacking
        keeps = not any(self._is_suspect(failed[digest]) for digest in unfinished)
        for retry in split(roomier, unfinished, keep_cohorts=keeps):
            schedule.add(retry)
        for outcome in lost:
            self._stage_failed(outcome, job, schedule)

    def _remember_limit(self, job: PlannedJob) -> None:
        """Note that a cohort was too large, where its worker did not live to say so."""
        members = [stage for d in job.stages if (stage := self._plan.stages[d]).cohort]
        if len(members) > 1:
            seen = Observation(cost_keys=members[0].cost_keys, fits=len(members) // 2)
            self.observed.append(seen)

    def _resized(self, job: PlannedJob) -> PlannedJob:
        """Return a job that has not begun with the part of an accelerator that it needs."""
        # What failed once has a whole one, as what it needs is not known after all.
        is_retry = any(digest in self._attempts for digest in job.stages)
        return job if is_retry else self._shares.resized(job)

    def _to_retry(self, failed: dict[str, StageOutcome]) -> set[str]:
        """Return the failed stages to try again, and those in the same job that wait for them."""
        again: set[str] = set()
        for digest, outcome in failed.items():
            cause = outcome.failure.cause if outcome.failure else Cause.BUG
            self._failed[digest, cause] += 1
            waits = cause is Cause.UPSTREAM and again.intersection(
                self._plan.stages[digest].inputs.values()
            )
            if waits or self._failed[digest, cause] <= MAX_RETRIES.get(cause, 0):
                again.add(digest)
        return again

    def _is_suspect(self, outcome: StageOutcome) -> bool:
        """Return whether a stage may be why its job broke, so that the others go on without it."""
        cause = outcome.failure.cause if outcome.failure else Cause.BUG
        died_before = self._failed[outcome.digest, Cause.WORKER_DIED] > 1
        return cause is Cause.OUT_OF_MEMORY or (cause is Cause.WORKER_DIED and died_before)

    def _stage_finished(self, outcome: StageOutcome, job: PlannedJob) -> None:
        self._finished.add(outcome.digest)
        stage = self._plan.stages[outcome.digest]
        (self._own if stage.num_trials == 1 else self._shared)[outcome.digest] = outcome
        facts = {"attempt": self._attempts[outcome.digest], "detail": outcome.detail}
        self._note("stage_finished", job, (outcome.digest,), **facts)
        trial = self._trial_of.get(outcome.digest)
        if trial is not None:
            self._trial_ended(trial_result(trial, self._plan, self._outcomes(trial)))

    def _stage_failed(self, outcome: StageOutcome, job: PlannedJob, schedule: Schedule) -> None:
        failure = outcome.failure or Failure(Cause.BUG, "no reason was given")
        detail = {"started_at": outcome.started_at, "duration_s": outcome.duration_s}
        facts = {"attempt": self._attempts[outcome.digest], "failure": failure, "detail": detail}
        event = self._note("stage_failed", job, (outcome.digest,), **facts)
        root = self._root_failure(outcome.digest, event)
        below = self._without(outcome.digest, schedule)
        self.progress.stages_failed.update(self._names(below))
        for digest in [outcome.digest, *below]:
            self._failures[digest] = root
            trial = self._trial_of.get(digest)
            if trial is not None and trial.id not in self.results:
                self._trial_ended(failed_result(trial, root))

    def _without(self, failed: str, schedule: Schedule) -> list[str]:
        """Return all stages that cannot be computed now; what else is in their jobs goes on."""
        below: list[str] = []
        digests = [failed]
        for digest in digests:  # grows while it is walked
            for job in schedule.drop(digest):
                lost, rest = without(job, digest, self._plan.stages)
                below += lost
                digests += lost
                for other in rest:
                    schedule.add(other)
        return below

    def _root_failure(self, digest: str, event: Event) -> Event:
        """Return the failure of an input where that is why a stage could not run."""
        if event.failure is None or event.failure.cause is not Cause.UPSTREAM:
            return event
        inputs = self._plan.stages[digest].inputs.values()
        return next((self._failures[d] for d in inputs if d in self._failures), event)

    def _outcomes(self, trial: Trial) -> dict[str, StageOutcome]:
        missing = [
            digest
            for digest in trial.stages
            if digest not in self._shared and digest not in self._own
        ]
        # What the store has lost behind a stage that it still has is not needed any more.
        self._shared |= outcomes_in_store(self._store, missing)
        return {
            digest: self._own.pop(digest) if digest in self._own else self._shared[digest]
            for digest in trial.stages
            if digest in self._own or digest in self._shared
        }

    def _trial_ended(self, result: TrialResult, *, known: bool = False) -> None:
        self._tracker.record(result)
        self.progress.trial_ended(result, known=known)
        self.results[result.trial.id] = replace(result, curve=(), datasets=())

    def _note(self, kind: str, job: PlannedJob, stages: tuple[str, ...], **facts: Any) -> Event:
        event = Event(time=time.time(), kind=kind, job=job.id, stages=stages, **facts)
        self._journal.append(event)
        return event

    def _names(self, digests: Iterable[str]) -> list[str]:
        return [self._plan.stages[digest].stage.name for digest in digests]


def _unfinished(trial: Trial, state: State, failure: Failure | None) -> TrialResult:
    return TrialResult(trial=trial, state=state, failure=failure)
