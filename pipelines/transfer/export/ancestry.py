"""Where the model came from that a trial began with: a source, or what stages made of others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.contract import Artifact, Node
from pipelines.exports import closure
from pipelines.models.made import model_of
from pipelines.sources import Model, Task
from pipelines.sources.base import Origin, Source
from pipelines.transfer.teachers import TEACHER


@dataclass(frozen=True, kw_only=True)
class Base:
    """The model that a trial began with."""

    name: str
    digest: str
    model: Model | None
    """None where stages made it."""
    made_by: tuple[Node, ...] = ()
    """The stages that made it, first to last."""

    @property
    def sources(self) -> list[Model | Task]:
        """What it was made from, models before data; nothing where it is a source itself."""
        found = {
            source.digest: source
            for node in self.made_by
            for source in node.sources.values()
            if isinstance(source, (Model, Task))
        }
        return sorted(found.values(), key=lambda source: isinstance(source, Task))

    @property
    def licence(self) -> str:
        """The licence of the weights that are the beginning of all."""
        return self.pretrained.licence if self.pretrained else "unknown"

    @property
    def can_be_had(self) -> bool:
        """Return whether others find the model as it is, in the hub's layout."""
        return self.model is not None and not self.model.converter

    @property
    def pretrained(self) -> Model | None:
        """The source whose weights are the beginning of all: it itself, or what it is made of."""
        if self.model is not None:
            return self.model
        return next((source for source in self.sources if isinstance(source, Model)), None)

    @property
    def on_hub(self) -> str | None:
        """The repository of the hub that the weights come from, if it is one."""
        first = self.pretrained
        if first is None or first.source.origin is not Origin.HUB:
            return None
        return first.source.location

    @property
    def reference(self) -> str:
        """The name by which others find this very model; a folder of one machine has none."""
        return self.on_hub if self.on_hub and self.can_be_had else self.name

    @property
    def revision(self) -> str | None:
        """The commit of the hub that it is, if it is one."""
        return self.model.source.digest if self.model and self.on_hub else None


def base_of(node: Node, artifacts: Mapping[str, Artifact], name: str = "") -> Base:
    """Return the model that a node was given.

    Args:
        node: Which.
        artifacts: By digest.
        name: What a model is called that stages made; by default what its stage calls it.
    """
    given = model_of(node)
    if isinstance(given, Node):
        return Base(
            name=name or artifacts[given.digest].value["name"],
            digest=given.digest,
            model=None,
            made_by=tuple(closure(given).values()),
        )
    return Base(name=given.name, digest=given.digest, model=given)


def teacher_of(node: Node, artifacts: Mapping[str, Artifact]) -> tuple[Node, Base] | None:
    """Return the node that taught a student, and the model that it began with."""
    teacher = node.inputs.get(TEACHER)
    if teacher is None:
        return None
    # A probe was given features, and they the model.
    return teacher, base_of(teacher.inputs.get("features", teacher), artifacts)


def origin_of(name: str, source: Source) -> str:
    """Return where a source comes from; of a folder of one machine only its name."""
    return Path(name).name if source.origin is Origin.PATH else f"{name} (`{source}`)"
