"""A cohort's life on a worker: as many members in one call as memory allows, each kept as it ends.

Knows neither the sweep nor what becomes of the members that are left to be computed alone.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cluster.artifact import Record
from cluster.job import Cause, Failure
from cluster.usage import Meter, Usage
from cluster.worker import Notice, Preempted
from orchestrator.planning.plan import PlannedStage
from orchestrator.running.artifacts import Artifacts, record_of
from orchestrator.running.outcome import StageOutcome, failed, failure_of, finished
from orchestrator.running.worker_context import WorkerContext
from pipelines.cohorts import CohortFunction, CohortMember, Finished
from pipelines.contract import PipelineError, StageResult, load_object


class CohortWork:
    """Runs the cohorts of one job, and remembers what that has shown of them.

    Args:
        context: What their stages are given.
        artifacts: Where their inputs are, and their results go.
        notice: Tells when this process has to end soon.
        accounted: Adds to what was used in some seconds the accelerator's part, and the energy.
    """

    def __init__(
        self,
        context: WorkerContext,
        artifacts: Artifacts,
        notice: Notice,
        accounted: Callable[[Usage, float], Usage],
    ) -> None:
        self._context = context
        self._artifacts = artifacts
        self._notice = notice
        self._accounted = accounted
        self.limits: dict[str, int] = {}
        """How many members fit into memory at once, by cohort, where not all did."""
        self.left: set[str] = set()
        """The digests of members that a call, though nothing broke, left to be computed alone."""

    def run(
        self, stages: Sequence[PlannedStage], records: dict[str, Record]
    ) -> dict[str, StageOutcome]:
        """Compute the members of a cohort in as few calls as memory allows.

        Args:
            stages: The members, their inputs at hand.
            records: What is in the store, by digest; grows by what is computed.

        Returns:
            The outcomes of those that ended; the others have to be computed alone.
        """
        ended: dict[str, StageOutcome] = {}
        waiting = [list(stages)]
        while waiting and not self._is_over():
            part = waiting.pop(0)
            fits = self.limits.get(stages[0].cohort, len(part))
            part, rest = part[:fits], part[fits:]
            if rest:
                waiting.insert(0, rest)
            if len(part) < 2:
                continue
            outcomes, failure = self._run_part(part, records)
            ended |= outcomes
            left = [stage for stage in part if stage.digest not in ended]
            if failure is None:
                self.left.update(stage.digest for stage in left)
            elif failure.cause is Cause.OUT_OF_MEMORY:
                self.limits[stages[0].cohort] = len(part) // 2
                waiting.insert(0, left)
        return ended

    def _run_part(
        self, stages: Sequence[PlannedStage], records: dict[str, Record]
    ) -> tuple[dict[str, StageOutcome], Failure | None]:
        """Compute stages in one call; return what ended, and why the call broke if it did.

        What comes together shares its seconds equally, and all members those before an empty batch;
        the peak memory is that of the call so far.
        """
        ended: dict[str, StageOutcome] = {}
        failure = None
        shared_s = shared_cpu_s = 0.0
        log = io.StringIO()
        started_at = began_at = time.time()
        meter = Meter()
        try:
            with self._context.call(log):
                for batch in self._call(stages, records):
                    sharers = len(batch) or len(stages)
                    seconds, usage = (time.time() - began_at) / sharers, meter.read(sharers)
                    if not batch:
                        shared_s, shared_cpu_s = shared_s + seconds, shared_cpu_s + usage.cpu_s
                    seconds += shared_s
                    usage = replace(usage, cpu_s=round(usage.cpu_s + shared_cpu_s, 6))
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
        if failure is not None:
            self._context.recover(failure)
        return ended, failure

    def _call(
        self, stages: Sequence[PlannedStage], records: Mapping[str, Record]
    ) -> Iterator[Finished]:
        cohort = stages[0].stage.cohort
        assert cohort is not None
        function: CohortFunction = load_object(cohort.function)
        self._context.keep = frozenset()  # each member has its own
        opened: dict[str, Any] = {}

        def once(key: str, load: Callable[[], Any]) -> Any:
            if key not in opened:  # what is cached may go, and members share by what is the same
                opened[key] = self._context.cached(key, load)
            return opened[key]

        self._context.num_cpus = self._context.own_cpus + stages[0].spare_cpus
        self._context.checkpoint = lambda index: self._artifacts.checkpoint(stages[index].digest)
        members = [
            CohortMember(
                params=stage.params,
                inputs=self._artifacts.inputs(stage, records, once),
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

    def _is_over(self) -> bool:
        return self._notice.is_given or self._context.is_lost
