"""The toy pipeline with a stage whose nodes are computed together, and lone ones to compare with.

Each call for a cohort leaves a trace `together NUM_MEMBERS`, and one `work` for each member.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.cohorts import CohortMember, Finished
from pipelines.contract import Cohort, DivergedError, Node, StageResult
from pipelines.labels import Fidelity
from pipelines.pipeline import TrialSettings
from tests.toy import WORK, Toy, ToyPipeline, fail, note

COHORT = Cohort(
    function="tests.toy_cohorts:work_together",
    fusable_params=frozenset({"value", "sleep_s", "fail", "fail_times", "schedule", "seed"}),
    fidelity=Fidelity.EQUAL,
    shared="one look at the toys",
    fixed_cost=1.0,
    member_cost=0.05,
)


@dataclass(frozen=True)
class CohortToys(ToyPipeline):
    """The toy pipeline; `keep` wants an extra of each trial with a value of 1."""

    keep: bool = False
    fuses_inputs: bool = False

    def graph(self, trial: TrialSettings) -> Node:
        last = super().graph(trial)
        worked = last.inputs["worked"]
        inputs = frozenset({"prepared"}) if self.fuses_inputs else frozenset()
        wanted = {"scores"} if self.keep and worked.params["value"] == 1 else ()
        cohort = replace(COHORT, fusable_inputs=inputs)
        if self.fuses_inputs:
            cohort = replace(cohort, fusable_params=COHORT.fusable_params | {"group"})
        worked = replace(worked, stage=replace(WORK, cohort=cohort), keep=frozenset(wanted))
        return replace(last, inputs={"worked": worked})


TOGETHER = CohortToys()
KEEPING = CohortToys(keep=True)
FUSING = CohortToys(fuses_inputs=True)


def sweep_of(toy: Toy, space: Any, pipeline: str = "TOGETHER", **keys: Any) -> dict[str, Any]:
    """Return a sweep of this pipeline; `anything: N` says how many members fit into memory."""
    return {**toy.sweep(space, **keys), "pipeline": f"tests.toy_cohorts:{pipeline}"}


def work_together(context: Any, members: Sequence[CohortMember]) -> Iterator[Finished]:
    """Work on all members, one after another; a diverged one is given as such."""
    first = members[0].params
    note("together", {"tag": first["tag"], "value": len(members)})
    if len(members) > (first["anything"] or 1_000_000):
        raise MemoryError("no room for so many")
    sys.stdout.write(f"together with {len(members)}\n")
    for index, member in enumerate(members):
        params = member.params
        note("work", params)
        time.sleep(params["sleep_s"])
        try:
            fail(params, f"work-{params['tag']}-{params['value']}-{params['seed']}")
        except DivergedError as error:
            yield {index: error}
            continue
        score = member.inputs["prepared"].value["group"] + params["value"] + params["seed"] / 100
        yield {index: StageResult(value={"score": score, "curve": [{"step": 1, "loss": -score}]})}
