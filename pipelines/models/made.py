"""A model that a stage makes, who makes it, and how a stage is handed a model; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pipelines.contract import Node, Pinned
from pipelines.pipeline import Pipeline, TrialSettings
from pipelines.sources.base import Model

if TYPE_CHECKING:
    from pipelines.sources.facts import ModelFacts

MODEL = "model"
"""The role of the model among a node's sources, or among its inputs where a stage makes it."""


@dataclass(frozen=True, kw_only=True)
class MadeModel:
    """A model that is the result of a stage, as of pre-training; takes the place of a source."""

    name: str
    node: Node
    """Its artifact is what `pipelines.models.files.made_model` returns."""
    group: str = ""
    """What it and its like are called together; a space may narrow `models` by it."""
    description: str = ""
    facts: ModelFacts | None = None
    """What a plan checks methods against; None where it is not known before the model is made."""

    @property
    def digest(self) -> str:
        """The identity of the stage that makes it."""
        return self.node.digest


@runtime_checkable
class ModelMaker(Pipeline, Protocol):
    """A pipeline whose trials make models; nothing is registered, having the method is enough."""

    def made_model(self, trial: TrialSettings, *, name: str, group: str) -> MadeModel:
        """Return the model that a trial makes.

        Args:
            trial: A point of the pipeline's own space, and a seed.
            name: By which tables call the model.
            group: By which they call it and its like.

        Raises:
            InputError: Such a model cannot be made.
        """


@dataclass(frozen=True, kw_only=True)
class Given:
    """The sources and inputs by which a node gets its model."""

    sources: Mapping[str, Pinned] = field(default_factory=dict)
    inputs: Mapping[str, Node] = field(default_factory=dict)


def given(model: Model | MadeModel) -> Given:
    """Return how a node is given a model."""
    if isinstance(model, MadeModel):
        return Given(inputs={MODEL: model.node})
    return Given(sources={MODEL: model})


def model_of(node: Node) -> Any:
    """Return the model that a node was given: a pinned source, or the node that makes it."""
    return node.sources.get(MODEL) or node.inputs[MODEL]
