"""How a worker is made by name, in any process, and what it is told; not what it does."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

from cluster.job import Resources, WorkerSpec


class Preempted(BaseException):
    """The process has to end before its job has; no `except Exception` takes it for a failure."""


@dataclass
class Notice:
    """Whether a process was told to end soon."""

    is_given: bool = False


class Worker(Protocol):
    """What a factory returns."""

    def run(self, payload: Any) -> Any:
        """Return the result of one job."""


@runtime_checkable
class Preparable(Protocol):
    """A worker that can get ready for a job before all that the job needs is there."""

    def prepare(self, payload: Any) -> None:
        """Load what takes long to load.

        Whatever it raises ends the process, and nothing else: the job will tell what is wrong.
        """


@runtime_checkable
class Preemptible(Protocol):
    """A worker that can end a job early without losing what is done."""

    def preempt(self) -> None:
        """Take note that the process ends soon; called by a signal's handler, amid :meth:`run`.

        The run saves what it can as soon as it can, and then returns, or raises
        :class:`Preempted`.
        """


@runtime_checkable
class Perishable(Protocol):
    """A worker whose process may become of no use, as when it loses its accelerator."""

    is_lost: bool
    """Whether this process can do no other job, so that it has to end."""


def make_worker(spec: WorkerSpec, resources: Resources) -> Worker:
    """Import the factory and call it with the resources and the settings."""
    module, _, attribute = spec.factory.partition(":")
    factory = getattr(importlib.import_module(module), attribute)
    return cast(Worker, factory(resources=resources, **spec.settings))
