"""A pipeline whose trials do nothing: what is left is the cost of the orchestrator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipelines.contract import Artifact, Context, Member, Node, Stage, StageResult
from pipelines.pipeline import TrialSettings

NOOP = Stage(name="noop/work", version=1, function="benchmarks.noop:work", typical_s=0.002)


class NoopParams(BaseModel):
    """One number, so that trials differ."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    x: int = 0


class NoopPipeline:
    """A single stage that returns its param."""

    name = "noop"
    takes_models = False
    takes_tasks = False

    def methods(self) -> Mapping[str, type[BaseModel]]:
        """Return the one schema."""
        return {"": NoopParams}

    def params_schema(self, method: str | None) -> type[BaseModel]:
        """Return the one schema."""
        del method
        return NoopParams

    def metrics(self, task: Any) -> Mapping[str, str]:
        """Return the one metric."""
        del task
        return {"score": "max"}

    def graph(self, trial: TrialSettings) -> Node:
        """Return the one node."""
        return Node(stage=NOOP, params={**trial.params.model_dump(), "seed": trial.seed})


PIPELINE = NoopPipeline()


def work(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Return the param as the score."""
    return [
        StageResult(value={"metrics": {"validation/score": float(member["x"])}})
        for member in members
    ]
