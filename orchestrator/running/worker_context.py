"""What a worker gives to each stage that it runs; runs none."""

from __future__ import annotations

import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from cluster.job import Resources
from cluster.machine import local_resources
from cluster.usage import free_memory_gib
from pipelines.contract import Checkpoint

MAX_CACHED_OBJECTS = 16
"""Models and data sets that a warm worker keeps: a few of each, not a whole sweep's."""


class WorkerContext:
    """What a stage is given; its cache lives as long as the process."""

    def __init__(self, resources: Resources) -> None:
        self.num_cpus = max(1, int(resources.num_cpus))
        self.device = "cuda" if resources.num_gpus else "cpu"
        self.keep: frozenset[str] = frozenset()
        self.checkpoint: Callable[[int], Checkpoint]
        self._cache: OrderedDict[str, Any] = OrderedDict()
        self._resources = resources

    @cached_property
    def scratch(self) -> Path:
        """An empty folder, made when it is first asked for; see :meth:`call`."""
        return Path(tempfile.mkdtemp(prefix="fanflare-"))

    @contextmanager
    def call(self) -> Iterator[None]:
        """Remove at the end of the block what was put into the scratch folder."""
        try:
            yield
        finally:
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

    def cached(self, key: str, load: Callable[[], Any]) -> Any:
        """Return `load()`, kept for later stages; the one that was not used for longest goes."""
        if key not in self._cache:
            self._cache[key] = load()
        self._cache.move_to_end(key)
        while len(self._cache) > MAX_CACHED_OBJECTS:
            self._cache.popitem(last=False)
        return self._cache[key]
