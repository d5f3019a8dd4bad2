"""The toy pipeline with a first stage whose result is in files, which the second one reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipelines.contract import Node, StageResult
from pipelines.pipeline import TrialSettings
from tests import toy
from tests.toy import PREPARE, WORK, ToyPipeline, with_stages


@dataclass(frozen=True)
class ToysInFiles(ToyPipeline):
    """The toy pipeline, whose group is an array."""

    def graph(self, trial: TrialSettings) -> Node:
        prepare = replace(PREPARE, function="tests.toy_files:prepare")
        work = replace(WORK, function="tests.toy_files:work")
        return with_stages(super().graph(trial), prepare, work)


PIPELINE = ToysInFiles()


def prepare(context: Any, members: Any, inputs: Any, sources: Any) -> list[StageResult]:
    """Keep the group in a file."""
    (made,) = toy.prepare(context, members, inputs, sources)
    return [replace(made, arrays={"group": np.array([members[0]["group"]])})]


def work(context: Any, members: Any, inputs: Any, sources: Any) -> list[StageResult]:
    """Read the group from its file, and work."""
    assert inputs["prepared"].arrays["group"][0] == inputs["prepared"].value["group"]
    return toy.work(context, members, inputs, sources)
