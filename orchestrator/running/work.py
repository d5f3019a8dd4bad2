"""A job's life on a worker: skip what is done, load the stage, run it, keep what it leaves.

Runs in the worker's process, whatever backend made it. Knows stages and their artifacts; knows
neither the sweep nor who else is working.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from cluster.artifact import Record, StoreError
from cluster.job import Cause, Failure, Resources
from cluster.usage import Meter
from cluster.worker import Notice, Preempted
from orchestrator.planning.plan import PlannedStage
from orchestrator.running.artifacts import Artifacts, record_of
from orchestrator.running.cohort_work import CohortWork
from orchestrator.running.outcome import StageOutcome, failed, failure_of, finished
from orchestrator.running.power import Power, accounted
from orchestrator.running.worker_context import WorkerContext
from pipelines.contract import (
    PipelineError,
    StageFunction,
    load_object,
)
from pipelines.labels import Fidelity, extras_of

_LOST = "the accelerator answers this process no more, after an error in an earlier stage"


class Worker:
    """Runs jobs in one process, kept warm between them.

    Args:
        resources: What this process may use.
        store: The location of the store.
        fresh_since: Unix time in seconds; artifacts begun before it count as not there.
        power: The fields of a `Power`, by which energy is told; None where it is not.
    """

    def __init__(
        self,
        *,
        resources: Resources,
        store: str,
        fresh_since: float = 0.0,
        power: Mapping[str, float] | None = None,
    ) -> None:
        self._notice = Notice()
        self._artifacts = Artifacts(store, fresh_since, self._notice)
        known = Power(**power) if power else None
        self._accounted = partial(accounted, num_gpus=resources.num_gpus, power=known)
        self._context = WorkerContext(resources)

    @property
    def is_lost(self) -> bool:
        """Whether another process does better: this one lost its accelerator, or lacked memory."""
        return self._context.is_lost or self._context.is_worn

    def preempt(self) -> None:
        """Take note that this process has to end: save at the next chance, begin no other stage."""
        self._notice.is_given = True

    def prepare(self, payload: Sequence[PlannedStage]) -> None:
        """Import the functions of the stages, which takes seconds where they need torch."""
        kinds = {stage.stage for stage in payload}
        cohorts = {kind.cohort for kind in kinds if kind.cohort}
        with self._context.call(io.StringIO()):
            for function in (each.function for each in kinds | cohorts):
                load_object(function)

    def run(self, payload: Sequence[PlannedStage]) -> list[StageOutcome]:
        """Run the stages in order; one that fails takes down only those that need it."""
        digests = {stage.digest for stage in payload}
        digests.update(digest for stage in payload for digest in stage.inputs.values())
        try:
            records = self._artifacts.find(digests)
        except StoreError as error:
            failure = failure_of(error)
            return [failed(stage.digest, failure) for stage in payload]
        outcomes: dict[str, StageOutcome] = {}
        cohorts = CohortWork(self._context, self._artifacts, self._notice, self._accounted)
        tried: set[str] = set()  # together; those that have not ended are computed alone
        for stage in payload:
            if stage.digest in outcomes:
                continue
            if stage.cohort and stage.digest not in tried:
                members = [
                    other
                    for other in payload
                    if other.cohort == stage.cohort and other.digest not in tried
                    if other.digest not in records and set(other.inputs.values()) <= records.keys()
                ]
                tried.update(member.digest for member in members)
                if len(members) > 1:
                    outcomes |= cohorts.run(members, records)
            if stage.digest not in outcomes:
                outcomes[stage.digest] = self._run_stage(stage, records)
        return [
            replace(
                outcomes[stage.digest],
                cohort_fits=cohorts.limits.get(stage.cohort),
                is_left=stage.digest in cohorts.left,
            )
            for stage in payload
        ]

    def _run_stage(self, stage: PlannedStage, records: dict[str, Record]) -> StageOutcome:
        known = records.get(stage.digest)
        if known is not None and stage.keep <= extras_of(known.value):
            return finished(known, reused=True)
        if self._notice.is_given:
            return failed(stage.digest, Failure(Cause.PREEMPTED, "the machine is taken away"))
        if self._context.is_lost:
            return failed(stage.digest, Failure(Cause.WORKER_DIED, _LOST))
        missing = [digest for digest in stage.inputs.values() if digest not in records]
        if missing:
            return failed(
                stage.digest, Failure(Cause.UPSTREAM, f"stage {missing[0][:12]} is not there")
            )
        started_at = time.time()
        log = io.StringIO()
        ended = self._attempt(stage, records, started_at, log)
        if log.tell():
            self._artifacts.write_log(stage.digest, started_at, log.getvalue())
        if isinstance(ended, Failure):
            ended = self._context.recover(ended)
            records.pop(stage.digest, None)  # one that lacks an extra is of no use to the others
            duration_s = time.time() - started_at
            return failed(stage.digest, ended, started_at=started_at, duration_s=duration_s)
        records[stage.digest] = ended
        return finished(ended)

    def _attempt(
        self,
        stage: PlannedStage,
        records: Mapping[str, Record],
        started_at: float,
        log: io.StringIO,
    ) -> Record | Failure:
        try:
            with self._context.call(log):
                return self._compute(stage, records, started_at)
        except (Exception, SystemExit, Preempted) as error:  # noqa: BLE001 - a failure is data
            failure = failure_of(error)
            # Where the cause is known, the lines of our own code would only hide it.
            is_known = isinstance(error, PipelineError | Preempted)
            log.write(failure.message.splitlines()[0] if is_known else failure.traceback)
            return failure

    def _compute(
        self, stage: PlannedStage, records: Mapping[str, Record], started_at: float
    ) -> Record:
        meter = Meter()
        function: StageFunction = load_object(stage.stage.function)
        known = records.get(stage.digest)  # lacks an extra; those that it has stay
        keep = stage.keep | (extras_of(known.value) if known else frozenset())
        self._context.keep = keep
        self._context.num_cpus = self._context.own_cpus + stage.spare_cpus
        checkpoint = self._artifacts.checkpoint(stage.digest)
        self._context.checkpoint = lambda _: checkpoint
        given = self._artifacts.inputs(stage, records, self._context.cached)
        (result,) = function(self._context, [stage.params], given, stage.sources)
        inputs = [records[digest] for digest in stage.inputs.values()]
        # Another number of threads is another order of floating-point sums.
        own = Fidelity.EQUAL if stage.spare_cpus else Fidelity.EXACT
        record = record_of(stage, result, inputs, own=own, keep=keep)
        duration_s = time.time() - started_at
        usage = self._accounted(meter.read(), duration_s)
        record = replace(record, started_at=started_at, duration_s=duration_s, usage=usage)
        return self._artifacts.write(record, result)
