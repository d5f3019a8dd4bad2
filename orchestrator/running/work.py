"""A job's life on a worker: skip what is done, load the stage, run it, keep what it leaves.

Runs in the worker's process, whatever backend made it. Knows stages and the store; knows
neither the sweep nor who else is working.
"""

from __future__ import annotations

import contextlib
import errno
import io
import shutil
import tempfile
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from cluster.artifact import Record, StoredArtifact, StoreError
from cluster.job import Cause, Failure, Resources, State
from cluster.store import Store
from orchestrator.planning.plan import PlannedStage
from orchestrator.running.checkpoint import StoreCheckpoint
from orchestrator.running.redaction import redact
from pipelines.contract import (
    FIDELITY,
    KEPT,
    Checkpoint,
    CohortFunction,
    CohortMember,
    DivergedError,
    Fidelity,
    Finished,
    InputError,
    PipelineError,
    StageFunction,
    StageResult,
    extras_of,
    fidelity_of,
    load_object,
    weakest,
)

MAX_CACHED_OBJECTS = 16
"""Models and data sets that a warm worker keeps: a few of each, not a whole sweep's."""

_STORE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True, kw_only=True)
class StageOutcome:
    """How one stage ended on a worker."""

    digest: str
    state: State
    value: Mapping[str, Any] = field(default_factory=dict)
    started_at: float = 0.0
    """Unix time in seconds."""
    duration_s: float = 0.0
    reused: bool = False
    """Whether another process had finished it in the meantime."""
    cohort_size: int = 1
    """With how many members it was computed together, itself among them."""
    cohort_fits: int | None = None
    """How many members fit into memory, where a cohort turned out to be too large."""
    failure: Failure | None = None


class WorkerContext:
    """What a stage is given; its cache lives as long as the process."""

    def __init__(self, resources: Resources) -> None:
        self.num_cpus = max(1, int(resources.num_cpus))
        self.device = "cuda" if resources.num_gpus else "cpu"
        self.scratch = Path()
        self.keep: frozenset[str] = frozenset()
        self.checkpoint: Callable[[int], Checkpoint]
        self._cache: OrderedDict[str, Any] = OrderedDict()

    def cached(self, key: str, load: Callable[[], Any]) -> Any:
        """Return `load()`, kept for later stages; the one that was not used for longest goes."""
        if key not in self._cache:
            self._cache[key] = load()
        self._cache.move_to_end(key)
        while len(self._cache) > MAX_CACHED_OBJECTS:
            self._cache.popitem(last=False)
        return self._cache[key]


class Worker:
    """Runs jobs in one process, kept warm between them.

    Args:
        resources: What this process may use.
        store: The location of the store.
        fresh_since: Unix time in seconds; artifacts begun before it count as not there.
    """

    def __init__(self, *, resources: Resources, store: str, fresh_since: float = 0.0) -> None:
        self._store = Store(store)
        self._fresh_since = fresh_since
        self._context = WorkerContext(resources)

    def run(self, payload: Sequence[PlannedStage]) -> list[StageOutcome]:
        """Run the stages in order; one that fails takes down only those that need it."""
        digests = {stage.digest for stage in payload}
        digests.update(digest for stage in payload for digest in stage.inputs.values())
        try:
            records = self._find(digests)
        except StoreError as error:
            failure = failure_of(error)
            return [
                StageOutcome(digest=stage.digest, state=State.FAILED, failure=failure)
                for stage in payload
            ]
        outcomes: dict[str, StageOutcome] = {}
        for stage in payload:
            if stage.digest in outcomes:
                continue
            members = [
                other
                for other in payload
                if other.cohort and other.cohort == stage.cohort and other.digest not in outcomes
                if other.digest not in records and records.keys() >= set(other.inputs.values())
            ]
            if len(members) > 1:
                outcomes |= self._run_cohort(members, records)
            if stage.digest not in outcomes:
                outcomes[stage.digest] = self._run_stage(stage, records)
        return [outcomes[stage.digest] for stage in payload]

    def _run_cohort(
        self, stages: Sequence[PlannedStage], records: dict[str, Record]
    ) -> dict[str, StageOutcome]:
        """Compute stages together; those without an outcome have to be computed alone."""
        ended: dict[str, StageOutcome] = {}
        log = io.StringIO()
        began_at = time.time()
        too_large = False
        try:
            with _captured(log), self._scratch():
                for batch in self._cohort(stages, records):
                    seconds = (time.time() - began_at) / len(batch)
                    for index, result in batch.items():
                        outcome = self._member_ended(stages[index], result, seconds, records)
                        ended[outcome.digest] = replace(outcome, cohort_size=len(stages))
                    began_at = time.time()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the members are tried alone
            failure = failure_of(error)
            too_large = failure.cause is Cause.OUT_OF_MEMORY
            log.write(failure.traceback)
        if log.tell():
            for stage in stages:
                self._keep_log(stage.digest, began_at, log.getvalue())
        rest = [stage for stage in stages if stage.digest not in ended]
        if too_large:
            half = max(1, len(stages) // 2)
            for part in (rest[:half], rest[half:]):
                if len(part) > 1:
                    again = self._run_cohort(part, records)
                    ended |= {
                        d: replace(o, cohort_fits=o.cohort_fits or half) for d, o in again.items()
                    }
        return ended

    def _cohort(
        self, stages: Sequence[PlannedStage], records: Mapping[str, Record]
    ) -> Iterator[Finished]:
        cohort = stages[0].stage.cohort
        assert cohort is not None
        function: CohortFunction = load_object(cohort.function)
        self._context.checkpoint = lambda index: StoreCheckpoint(
            self._store, stages[index].digest, 0, self._fresh_since
        )
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
        records: dict[str, Record],
    ) -> StageOutcome:
        started_at = time.time() - duration_s
        if isinstance(result, PipelineError):
            failure = failure_of(result)
            self._keep_log(stage.digest, started_at, failure.message)
            return StageOutcome(
                digest=stage.digest,
                state=State.FAILED,
                started_at=started_at,
                duration_s=duration_s,
                failure=failure,
            )
        assert stage.stage.cohort is not None
        own = stage.stage.cohort.fidelity
        record = self._record(stage, result, records, stage.keep, own)
        record = replace(record, started_at=started_at, duration_s=duration_s)
        records[stage.digest] = self._write(record, result)
        StoreCheckpoint(self._store, stage.digest, 0).clear()
        return _outcome(records[stage.digest])

    def _find(self, digests: Iterable[str]) -> dict[str, Record]:
        with _store_errors():
            found = self._store.find(digests)
        return {d: record for d, record in found.items() if record.started_at >= self._fresh_since}

    def _run_stage(self, stage: PlannedStage, records: dict[str, Record]) -> StageOutcome:
        known = records.get(stage.digest)
        if known is not None and stage.keep <= extras_of(known.value):
            return _outcome(known, reused=True)
        missing = [digest for digest in stage.inputs.values() if digest not in records]
        if missing:
            failure = Failure(Cause.UPSTREAM, f"stage {missing[0][:12]} is not there")
            return StageOutcome(digest=stage.digest, state=State.FAILED, failure=failure)
        started_at = time.time()
        log = io.StringIO()
        ended = self._attempt(stage, records, started_at, log)
        if log.tell():
            self._keep_log(stage.digest, started_at, log.getvalue())
        if isinstance(ended, Failure):
            records.pop(stage.digest, None)  # one that lacks an extra is of no use to the others
            return StageOutcome(
                digest=stage.digest,
                state=State.FAILED,
                started_at=started_at,
                duration_s=time.time() - started_at,
                failure=ended,
            )
        records[stage.digest] = ended
        return _outcome(ended)

    def _attempt(
        self,
        stage: PlannedStage,
        records: Mapping[str, Record],
        started_at: float,
        log: io.StringIO,
    ) -> Record | Failure:
        try:
            with _captured(log), self._scratch():
                return self._compute(stage, records, started_at)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a failure is data
            failure = failure_of(error)
            # Where the cause is known, the lines of our own code would only hide it.
            is_known = isinstance(error, PipelineError)
            log.write(failure.message.splitlines()[0] if is_known else failure.traceback)
            return failure

    def _compute(
        self, stage: PlannedStage, records: Mapping[str, Record], started_at: float
    ) -> Record:
        function: StageFunction = load_object(stage.stage.function)
        inputs = self._inputs(stage, records)
        known = records.get(stage.digest)  # lacks an extra; those that it has stay
        keep = stage.keep | (extras_of(known.value) if known else frozenset())
        self._context.keep = keep
        checkpoint = StoreCheckpoint(self._store, stage.digest, 0, self._fresh_since)
        self._context.checkpoint = lambda _: checkpoint
        (result,) = function(self._context, [stage.params], inputs, stage.sources)
        record = self._record(stage, result, records, keep, Fidelity.EXACT)
        record = replace(record, started_at=started_at, duration_s=time.time() - started_at)
        written = self._write(record, result)
        checkpoint.clear()
        return written

    def _inputs(
        self, stage: PlannedStage, records: Mapping[str, Record]
    ) -> dict[str, StoredArtifact]:
        return {
            role: self._context.cached(
                f"{digest}/{records[digest].attempt}",
                partial(self._store.open, records[digest]),
            )
            for role, digest in stage.inputs.items()
        }

    def _record(
        self,
        stage: PlannedStage,
        result: StageResult,
        records: Mapping[str, Record],
        keep: frozenset[str],
        own: Fidelity,
    ) -> Record:
        value = dict(result.value)
        value.pop(FIDELITY, None)  # of an input whose value was taken over
        fidelity = weakest(
            [own, *(fidelity_of(records[digest].value) for digest in stage.inputs.values())]
        )
        if keep:
            value[KEPT] = sorted(keep)
        if fidelity is not Fidelity.EXACT:
            value[FIDELITY] = fidelity.value
        return Record(
            digest=stage.digest, stage=stage.stage.name, value=value, started_at=0, duration_s=0
        )

    def _write(self, record: Record, result: StageResult) -> Record:
        with _store_errors():
            return self._store.write(record, result.tables, result.arrays)

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[None]:
        self._context.scratch = Path(tempfile.mkdtemp(prefix="fanflare-"))
        try:
            yield
        finally:
            shutil.rmtree(self._context.scratch, ignore_errors=True)

    def _keep_log(self, digest: str, started_at: float, text: str) -> None:
        # A log that cannot be written must not turn a finished stage into a failed one.
        with contextlib.suppress(OSError):
            self._store.write_log(digest, started_at, redact(text))


def failure_of(error: BaseException) -> Failure:
    """Return an exception as data: its cause, one line, and the traceback's text."""
    message = redact(str(error).strip() or type(error).__name__)
    text = redact("".join(traceback.format_exception(error)))
    if isinstance(error, InputError):
        return Failure(Cause.INPUT, message, text, error.key, error.nearest)
    return Failure(_cause(error), f"{type(error).__name__}: {message}", text)


def _cause(error: BaseException) -> Cause:
    if isinstance(error, DivergedError):
        return Cause.DIVERGED
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return Cause.OUT_OF_MEMORY  # torch's error, told by name: no torch here
    if isinstance(error, StoreError) or getattr(error, "errno", None) in _STORE_ERRORS:
        return Cause.STORE
    return Cause.BUG


def _outcome(record: Record, *, reused: bool = False) -> StageOutcome:
    return StageOutcome(
        digest=record.digest,
        state=State.FINISHED,
        value=record.value,
        started_at=record.started_at,
        duration_s=record.duration_s,
        reused=reused,
    )


@contextlib.contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"the store cannot be used: {error}") from error


@contextlib.contextmanager
def _captured(log: io.StringIO) -> Iterator[None]:
    with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        yield
