"""A job's life on a worker: skip what is done, load the stage, run it, keep what it leaves.

Runs in the worker's process, whatever backend made it. Knows stages and their artifacts; knows
neither the sweep nor who else is working.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from cluster.artifact import Record, StoredArtifact, StoreError
from cluster.job import Cause, Failure, Resources
from cluster.usage import Meter, Usage
from cluster.worker import Notice, Preempted
from orchestrator.planning.plan import PlannedStage
from orchestrator.running.artifacts import Artifacts, record_of
from orchestrator.running.outcome import StageOutcome, failed, failure_of, finished
from orchestrator.running.power import Power, accounted
from orchestrator.running.worker_context import WorkerContext
from pipelines.cohorts import CohortFunction, CohortMember, Finished
from pipelines.contract import (
    PipelineError,
    StageFunction,
    StageResult,
    load_object,
)
from pipelines.labels import Fidelity, extras_of


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
        self._num_cpus = self._context.num_cpus

    def preempt(self) -> None:
        """Take note that this process has to end: save at the next chance, begin no other stage."""
        self._notice.is_given = True

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
        limits: dict[str, int] = {}
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
                    outcomes |= self._run_together(members, records, limits)
            if stage.digest not in outcomes:
                outcomes[stage.digest] = self._run_stage(stage, records)
        return [
            replace(outcomes[stage.digest], cohort_fits=limits.get(stage.cohort))
            for stage in payload
        ]

    def _run_together(
        self, stages: Sequence[PlannedStage], records: dict[str, Record], limits: dict[str, int]
    ) -> dict[str, StageOutcome]:
        """Compute the members of a cohort in as few calls as memory allows.

        Args:
            stages: The members, their inputs at hand.
            records: What is in the store, by digest; grows by what is computed.
            limits: How many members fit at once, by cohort; grows by what is found out.

        Returns:
            The outcomes of those that ended; the others have to be computed alone.
        """
        ended: dict[str, StageOutcome] = {}
        waiting = [list(stages)]
        while waiting and not self._notice.is_given:
            part = waiting.pop(0)
            fits = limits.get(stages[0].cohort, len(part))
            part, rest = part[:fits], part[fits:]
            if rest:
                waiting.insert(0, rest)
            if len(part) < 2:
                continue
            outcomes, failure = self._run_cohort(part, records)
            ended |= outcomes
            if failure is not None and failure.cause is Cause.OUT_OF_MEMORY:
                limits[stages[0].cohort] = len(part) // 2
                waiting.insert(0, [stage for stage in part if stage.digest not in ended])
        return ended

    def _run_cohort(
        self, stages: Sequence[PlannedStage], records: dict[str, Record]
    ) -> tuple[dict[str, StageOutcome], Failure | None]:
        """Compute stages in one call; return what ended, and why the call broke if it did.

        What comes together shares its seconds equally; its peak memory is that of the call so far.
        """
        ended: dict[str, StageOutcome] = {}
        failure = None
        log = io.StringIO()
        started_at = began_at = time.time()
        meter = Meter()
        try:
            with _captured(log), self._context.call():
                for batch in self._call_cohort(stages, records):
                    num_ended = max(1, len(batch))
                    seconds, usage = (time.time() - began_at) / num_ended, meter.read(num_ended)
                    for index, result in batch.items():
                        outcome = self._member_ended(stages[index], result, seconds, usage, records)
                        ended[outcome.digest] = replace(outcome, cohort_size=len(stages))
                    began_at = time.time()
                    meter.resume()
        except (Exception, SystemExit, Preempted) as error:  # noqa: BLE001 - members go on alone
            failure = failure_of(error)
        for stage in stages:
            is_lost = failure is not None and stage.digest not in ended
            text = log.getvalue() + (failure.traceback if failure is not None and is_lost else "")
            if text:
                self._artifacts.write_log(stage.digest, started_at, text)
        return ended, failure

    def _call_cohort(
        self, stages: Sequence[PlannedStage], records: Mapping[str, Record]
    ) -> Iterator[Finished]:
        cohort = stages[0].stage.cohort
        assert cohort is not None
        function: CohortFunction = load_object(cohort.function)
        self._context.keep = frozenset()  # each member has its own
        self._context.num_cpus = self._num_cpus + stages[0].spare_cpus
        self._context.checkpoint = lambda index: self._artifacts.checkpoint(stages[index].digest)
        members = [
            CohortMember(
                params=stage.params,
                inputs=self._inputs(stage, records),
                sources=stage.sources,
                keep=stage.keep,
            )
            for stage in stages
        ]
        yield from function(self._context, members)

    def _member_ended(
        self,
        stage: PlannedStage,
        result: StageResult | PipelineError,
        duration_s: float,
        usage: Usage,
        records: dict[str, Record],
    ) -> StageOutcome:
        started_at = time.time() - duration_s
        if isinstance(result, PipelineError):
            failure = failure_of(result)
            self._artifacts.write_log(stage.digest, started_at, failure.message)
            return failed(stage.digest, failure, started_at=started_at, duration_s=duration_s)
        assert stage.stage.cohort is not None
        inputs = [records[digest] for digest in stage.inputs.values()]
        own = stage.stage.cohort.fidelity
        record = record_of(stage, result, inputs, own=own, keep=stage.keep)
        usage = self._accounted(usage, duration_s)
        record = replace(record, started_at=started_at, duration_s=duration_s, usage=usage)
        records[stage.digest] = self._artifacts.write(record, result)
        return finished(records[stage.digest])

    def _run_stage(self, stage: PlannedStage, records: dict[str, Record]) -> StageOutcome:
        known = records.get(stage.digest)
        if known is not None and stage.keep <= extras_of(known.value):
            return finished(known, reused=True)
        if self._notice.is_given:
            return failed(stage.digest, Failure(Cause.PREEMPTED, "the machine is taken away"))
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
            with _captured(log), self._context.call():
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
        self._context.num_cpus = self._num_cpus + stage.spare_cpus
        checkpoint = self._artifacts.checkpoint(stage.digest)
        self._context.checkpoint = lambda _: checkpoint
        (result,) = function(
            self._context, [stage.params], self._inputs(stage, records), stage.sources
        )
        inputs = [records[digest] for digest in stage.inputs.values()]
        # Another number of threads is another order of floating-point sums.
        own = Fidelity.EQUAL if stage.spare_cpus else Fidelity.EXACT
        record = record_of(stage, result, inputs, own=own, keep=keep)
        duration_s = time.time() - started_at
        usage = self._accounted(meter.read(), duration_s)
        record = replace(record, started_at=started_at, duration_s=duration_s, usage=usage)
        return self._artifacts.write(record, result)

    def _inputs(
        self, stage: PlannedStage, records: Mapping[str, Record]
    ) -> dict[str, StoredArtifact]:
        return {
            role: self._context.cached(
                f"{digest}/{records[digest].attempt}",
                partial(self._artifacts.open, records[digest]),
            )
            for role, digest in stage.inputs.items()
        }


@contextlib.contextmanager
def _captured(log: io.StringIO) -> Iterator[None]:
    with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        yield
