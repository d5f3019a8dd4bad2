"""How a stage ended on a worker, as data: its result's value, or why there is none."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cluster.artifact import Record, StoreError
from cluster.job import Cause, Failure, State
from cluster.usage import Usage
from cluster.worker import Preempted
from orchestrator.planning.cost import Observation
from orchestrator.running.journal import Event
from orchestrator.running.redaction import redact
from pipelines.contract import CommandError, DivergedError, InputError

_STORE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

_OUT_OF_MEMORY = (
    "CUDA error: out of memory",
    "can't allocate memory",
    "Cannot allocate memory",
    "ALLOC_FAILED",
    "ALLOCATION_FAILED",
)
"""What errors say for which torch has no class of its own: of CUDA outside its allocator, of the
host's allocator, of the system where a file of weights is mapped, of cuBLAS and of cuDNN."""


@dataclass(frozen=True, kw_only=True)
class StageOutcome:
    """How one stage ended on a worker."""

    digest: str
    state: State
    value: Mapping[str, Any] = field(default_factory=dict)
    started_at: float = 0.0
    """Unix time in seconds."""
    duration_s: float = 0.0
    usage: Usage | None = None
    """What computing it used, where that was measured."""
    reused: bool = False
    """Whether another process had finished it in the meantime."""
    cohort_size: int = 1
    """With how many members it was computed together, itself among them."""
    cohort_fits: int | None = None
    """How many members fit into memory, where a cohort turned out to be too large."""
    is_left: bool = False
    """Whether its cohort left it to be computed alone, though nothing broke."""
    failure: Failure | None = None

    @property
    def detail(self) -> dict[str, Any]:
        """What the journal tells of a finished stage."""
        told = {"duration_s": round(self.duration_s, 4), "reused": self.reused}
        if self.reused or self.state is not State.FINISHED:
            return told
        used = asdict(self.usage) if self.usage else {}
        used = {name: value for name, value in used.items() if value is not None}
        return {**told, "started_at": self.started_at, "cohort_size": self.cohort_size, **used}

    def observation(self, cost_keys: tuple[str, ...]) -> Observation:
        """Return what a stage tells of its cost: little, if it failed or was there already.

        Args:
            cost_keys: The names under which its cost is kept.
        """
        if self.reused:
            return Observation(cost_keys=cost_keys, fits=self.cohort_fits)
        return Observation(
            cost_keys=cost_keys,
            duration_s=self.duration_s,
            num_together=self.cohort_size,
            is_left=self.is_left,
            fits=self.cohort_fits,
            peak_memory_gib=self.usage.peak_memory_gib if self.usage else None,
            peak_gpu_memory_gib=self.usage.peak_gpu_memory_gib if self.usage else None,
        )


def finished_event(outcome: StageOutcome) -> Event:
    """Return what the journal tells of a stage that was computed outside of any job."""
    ended_at = outcome.started_at + outcome.duration_s
    detail = outcome.detail
    return Event(time=ended_at, kind="stage_finished", stages=(outcome.digest,), detail=detail)


def finished(record: Record, *, reused: bool = False) -> StageOutcome:
    """Return the outcome of a stage whose artifact is in the store."""
    return StageOutcome(
        digest=record.digest,
        state=State.FINISHED,
        value=record.value,
        started_at=record.started_at,
        duration_s=record.duration_s,
        usage=record.usage,
        reused=reused,
    )


def failed(
    digest: str, failure: Failure, *, started_at: float = 0.0, duration_s: float = 0.0
) -> StageOutcome:
    """Return the outcome of a stage that left nothing."""
    return StageOutcome(
        digest=digest,
        state=State.FAILED,
        started_at=started_at,
        duration_s=duration_s,
        failure=failure,
    )


def failure_of(error: BaseException) -> Failure:
    """Return an exception as data: its cause, one line, and the traceback's text."""
    message = redact(str(error).strip() or type(error).__name__)
    text = redact("".join(traceback.format_exception(error)))
    if isinstance(error, InputError):
        return Failure(Cause.INPUT, message, text, error.key, error.nearest)
    if isinstance(error, CommandError):
        return Failure(Cause.COMMAND, message, text)
    return Failure(_cause(error), f"{type(error).__name__}: {message}", text)


def _is_out_of_memory(error: BaseException) -> bool:
    # torch's error, told by name: no torch here
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if getattr(error, "errno", None) == errno.ENOMEM:
        return True
    is_told = isinstance(error, RuntimeError | OSError)
    return is_told and any(said in str(error) for said in _OUT_OF_MEMORY)


def _cause(error: BaseException) -> Cause:
    if isinstance(error, Preempted):
        return Cause.PREEMPTED
    if isinstance(error, DivergedError):
        return Cause.DIVERGED
    if _is_out_of_memory(error):
        return Cause.OUT_OF_MEMORY
    if isinstance(error, StoreError) or getattr(error, "errno", None) in _STORE_ERRORS:
        return Cause.STORE
    return Cause.BUG
