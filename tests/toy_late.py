"""A stage whose module tells when it is imported, and one before it that waits for that."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from pipelines.contract import Node, StageResult
from pipelines.pipeline import TrialSettings
from tests.toy import PREPARE, WORK, ToyPipeline, folder, with_stages

IMPORTED_S = 60
"""Seconds after which the first stage gives up."""


@dataclass(frozen=True)
class LateToys(ToyPipeline):
    """The toy pipeline, with the work in a module of its own."""

    def graph(self, trial: TrialSettings) -> Node:
        prepare = replace(PREPARE, function="tests.toy_late:wait")
        # Long enough to be a job of its own.
        work = replace(WORK, function="tests.toy_late_work:work", typical_s=60.0)
        return with_stages(super().graph(trial), prepare, work)


PIPELINE = LateToys()


def wait(context: Any, members: Any, inputs: Any, sources: Any) -> list[StageResult]:
    """Wait until a worker has imported the module of the stages after this one."""
    deadline = time.monotonic() + IMPORTED_S
    while not any(folder().glob("imported-*")):
        if time.monotonic() > deadline:
            raise TimeoutError("nobody got ready")
        time.sleep(0.05)
    return [StageResult(value={"group": members[0]["group"]})]
