"""What a backend is given and what it reports; not how it runs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """MLflow's words for where a sweep, a trial or a job stands."""

    SCHEDULED = "SCHEDULED"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"

    def is_final(self) -> bool:
        """Return whether nothing more will happen without a new attempt."""
        return self in (State.FINISHED, State.FAILED, State.KILLED)


class Cause(StrEnum):
    """Why an attempt failed; the retry policy reads nothing else."""

    BUG = "bug"
    """The code raised; running it again would raise again."""
    COMMAND = "command"
    """A program of the user's own did not end well; it would not another time either."""
    DIVERGED = "diverged"
    """The training loss is no longer finite."""
    INPUT = "input"
    """The user's data or model cannot be used as asked."""
    OUT_OF_MEMORY = "out of memory"
    """Host or accelerator memory ran out."""
    WORKER_DIED = "worker died"
    """The process ended without a word: killed, or crashed in native code."""
    PREEMPTED = "preempted"
    """The machine was taken away; not the job's fault."""
    STORE = "store"
    """The store could not be read or written: full, unreachable, no rights."""
    UPSTREAM = "upstream"
    """A stage that this one needs has failed."""


@dataclass(frozen=True)
class Failure:
    """A failure as data: it travels between processes and into the journal without pickling."""

    cause: Cause
    message: str
    traceback: str = ""
    key: str = ""
    """The key of the sweep file that names the culprit, where the cause is `input`."""
    nearest: str = ""
    """The nearest valid value, where there is one."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one job needs while it runs."""

    num_cpus: float = 1
    """Cores; a whole number also sets the threads of the numerical libraries."""
    num_gpus: float = 0
    """Accelerators; a fraction shares one."""
    memory_gib: float = 0
    """Host memory in GiB; 0 asks for no reservation."""

    def fits(self, capacity: Resources) -> bool:
        """Return whether `capacity` covers this need."""
        return (
            self.num_cpus <= capacity.num_cpus
            and self.num_gpus <= capacity.num_gpus
            and self.memory_gib <= capacity.memory_gib
        )

    def minus(self, need: Resources, times: int = 1) -> Resources:
        """Return what is left when a need is taken so many times, or given back where negative."""
        # Rounded, so that five times 0.4 is 2.
        return Resources(
            num_cpus=round(self.num_cpus - times * need.num_cpus, 6),
            num_gpus=round(self.num_gpus - times * need.num_gpus, 6),
            memory_gib=round(self.memory_gib - times * need.memory_gib, 6),
        )

    def times_in(self, capacity: Resources) -> float:
        """Return how many such needs `capacity` covers at once."""
        pairs = (
            (self.num_cpus, capacity.num_cpus),
            (self.num_gpus, capacity.num_gpus),
            (self.memory_gib, capacity.memory_gib),
        )
        return min((there / need for need, there in pairs if need), default=float("inf"))


@dataclass(frozen=True, kw_only=True)
class Job:
    """One unit of work for one worker process."""

    id: str
    payload: Any
    """Handed to the worker's `run`; plain data."""
    resources: Resources = field(default_factory=Resources)


@dataclass(frozen=True, kw_only=True)
class JobEnded:
    """The end of one attempt: either the worker's return value, or the reason why none came."""

    job_id: str
    result: Any = None
    failure: Failure | None = None


@dataclass(frozen=True, kw_only=True)
class WorkerSpec:
    """How to make a worker: called once per process, kept warm for all its jobs."""

    factory: str
    """`module:callable`; called with `resources` and the settings as keywords, it returns an
    object whose method `run(payload)` returns the result of one job."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Plain data."""
