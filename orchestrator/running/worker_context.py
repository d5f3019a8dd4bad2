"""What a worker gives to each stage that it runs; runs none."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO, cast

from cluster.job import Cause, Failure, Resources
from cluster.machine import local_resources
from cluster.usage import free_memory_gib, is_accelerator_lost, release_memory
from pipelines.contract import Checkpoint

MAX_CACHED_OBJECTS = 16
"""Models and data sets that a warm worker keeps: a few of each, not a whole sweep's."""


class _Printed(io.TextIOBase):
    """Where a worker's process prints: into the log of the stage that runs, if one does.

    Loggers keep for good the stream that is there when they are made, in whatever stage that is.
    """

    log: TextIO | None = None

    def write(self, text: str) -> int:
        return self.log.write(text) if self.log else len(text)


class WorkerContext:
    """What a stage is given; its cache lives as long as the process."""

    def __init__(self, resources: Resources) -> None:
        self.own_cpus = self.num_cpus = max(1, int(resources.num_cpus))
        self.device = "cuda" if resources.num_gpus else "cpu"
        self.keep: frozenset[str] = frozenset()
        self.checkpoint: Callable[[int], Checkpoint]
        self.is_lost = False
        """Whether the accelerator answers this process no more, so that it has to be ended."""
        self.is_worn = False
        """Whether the host's memory ran out: what is free again lies in pieces. Under a limit of
        3,250 MiB a fresh process was given 2,200 MiB in tensors of 48, one whose cohort had not
        fitted 290 to 480, after malloc_trim(3) too."""
        self._cache: OrderedDict[str, Any] = OrderedDict()
        self._printed = _Printed()
        self._resources = resources

    @cached_property
    def scratch(self) -> Path:
        """An empty folder, made when it is first asked for; see :meth:`call`."""
        return Path(tempfile.mkdtemp(prefix="fanflare-"))

    @contextlib.contextmanager
    def call(self, log: TextIO) -> Iterator[None]:
        """Let a stage print into a log; remove at the end what it put into the scratch folder."""
        printed = cast(TextIO, self._printed)
        self._printed.log = log
        try:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                yield
        finally:
            self._printed.log = None
            if "scratch" in vars(self):
                shutil.rmtree(self.scratch, ignore_errors=True)
                del self.scratch

    def free_memory_gib(self) -> float:
        """Return how much more memory of the device this stage may take, in GiB.

        Of what is free it is this worker's part, as others may want theirs.
        """
        part = self._resources.num_gpus
        if self.device == "cpu":
            part = self.num_cpus / local_resources().num_cpus
        return min(1.0, part) * free_memory_gib(self.device)

    def recover(self, failure: Failure) -> Failure:
        """Make room after a lack of memory; return the failure, as the process's if that is lost.

        To be called once the exception is gone, and with it the tensors that its traceback holds.
        """
        self.is_lost = self.is_lost or is_accelerator_lost()
        if self.is_lost:
            return replace(failure, cause=Cause.WORKER_DIED)
        if failure.cause is Cause.OUT_OF_MEMORY:
            self.is_worn = self.device == "cpu"
            self._cache.clear()
            release_memory()
        return failure

    def cached(self, key: str, load: Callable[[], Any]) -> Any:
        """Return `load()`, kept for later stages; the one that was not used for longest goes."""
        if key not in self._cache:
            self._cache[key] = load()
        self._cache.move_to_end(key)
        while len(self._cache) > MAX_CACHED_OBJECTS:
            self._cache.popitem(last=False)
        return self._cache[key]
