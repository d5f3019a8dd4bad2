"""What a pipeline promises: params in, the graph of a trial out; not what its stages do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pipelines.contract import Node


@dataclass(frozen=True, kw_only=True)
class TrialSettings:
    """One trial as its pipeline sees it: everything resolved, nothing left to look up."""

    model: Any
    """A pinned model of `pipelines.sources`, or None where the pipeline takes no model."""
    task: Any
    """A pinned task of `pipelines.sources`, or None where the pipeline takes no task."""
    params: BaseModel
    """A point of the space, validated by the pipeline's own schema."""
    seed: int
    folder: Path = Path()
    """Where relative paths of the sweep file begin; it enters no identity."""
    models: Mapping[str, Any] = field(default_factory=dict)
    """The models of the sweep by name, for params that name another one; they enter no identity
    by themselves."""


class Pipeline(Protocol):
    """A named way to turn a trial into a graph of stages."""

    name: str
    takes_models: bool
    """Whether the sweep must name `models`."""
    takes_tasks: bool
    """Whether the sweep must name `tasks`."""

    def params_schema(self, method: str | None) -> type[BaseModel]:
        """Return the schema of params for a method.

        Raises:
            InputError: There is no such method, or one must be named.
        """

    def methods(self) -> Mapping[str, type[BaseModel]]:
        """Return the schema of params by method; one entry with an empty name if it has none."""

    def graph(self, trial: TrialSettings) -> Node:
        """Return the last node of the trial's graph; its value holds the trial's `metrics`.

        Raises:
            InputError: The method does not apply to this model or task.
        """

    def metrics(self, task: Any) -> Mapping[str, str]:
        """Return the metrics that a trial on this task gives, each with `max` or `min`.

        The first is the default where the task names none of its own. An empty mapping says that
        any name may come; the sweep must then name its metric and mode.
        """


@runtime_checkable
class MetricNames(Protocol):
    """A pipeline that calls metrics otherwise than what runs in its trials."""

    def result_name(self, name: str) -> str:
        """Return what a metric is called in a result, as `validation/f1` for `eval_f1`."""
