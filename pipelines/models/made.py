"""A model that a stage makes, and the two ways to hand a model to a stage; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.contract import Node, Pinned
from pipelines.sources.base import Model

MODEL = "model"
"""The role of the model among a node's sources, or among its inputs where a stage makes it."""


@dataclass(frozen=True, kw_only=True)
class MadeModel:
    """A model that is the result of a stage, as of pre-training; takes the place of a source."""

    name: str
    node: Node
    """Its artifact is what `pipelines.models.files.made_model` returns."""
    description: str = ""

    @property
    def digest(self) -> str:
        """The identity of the stage that makes it."""
        return self.node.digest


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
