"""What a pipeline whose trials can be exported offers beyond the contract; writes no file.

A pipeline is such a one if it has what :class:`Exportable` names; nothing is registered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from pipelines.contract import Artifact, Context, Json, Node

MARKER = "fanflare.json"
"""The file that says, for programs, where an exported folder comes from."""
TOLERANCE = 1e-5
"""What another order of floating-point sums may change in a score."""


@dataclass(frozen=True, kw_only=True)
class SeedScores:
    """The ranking metric of one split over the seeds of the trial's config."""

    num_seeds: int
    mean: float | None
    std: float | None
    """None for fewer than two seeds."""
    half_width: float | None
    """The true mean lies so far from `mean` at most, with 95 % confidence (Student's t);
    None for fewer than two seeds."""


@dataclass(frozen=True, kw_only=True)
class TrialFacts:
    """What the sweep knows of the trial, for the model card."""

    id: str
    model: str
    """The model's name in the sweep; empty where the pipeline takes none."""
    params: Mapping[str, Json]
    seed: int
    metric: str
    """The metric that ranks it."""
    metrics: Mapping[str, float]
    """Final numbers by `split/metric`."""
    seeds: Mapping[str, SeedScores]
    """By split."""
    sweep: str
    """The sweep's name."""
    sweep_text: str
    """The sweep file, or its content as JSON; without secrets."""
    version: str
    """Of fanflare."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """A finished trial that is to become a folder."""

    node: Node
    """What `export_node` returned."""
    artifacts: Mapping[str, Artifact]
    """Of this node and of all that it rests on, by digest."""
    facts: TrialFacts
    folder: Path
    """Where to write; it is there and empty."""
    merge: bool
    """Whether adapters are folded into the weights."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How predictions compare with those that the trial kept."""

    num_rows: int
    num_same: int
    """Rows with the same class, or with the same number within the tolerance."""
    max_difference: float
    """The largest difference of a score; of numbers, as a part of the labels' spread."""

    @property
    def is_close(self) -> bool:
        """Return whether this is the same model up to the order of floating-point sums."""
        return self.num_same == self.num_rows and self.max_difference <= TOLERANCE

    def __str__(self) -> str:
        if self.is_close and not self.max_difference:
            return f"all {self.num_rows} predictions are the trial's own, bit for bit"
        return (
            f"{self.num_same} of {self.num_rows} predictions are the trial's own, "
            f"scores differ by {self.max_difference:.1g} at most"
        )


@dataclass(frozen=True, kw_only=True)
class Verification:
    """How an export was compared with what the trial had kept."""

    retrained: Agreement | None
    """Training repeated to have the weights; None where the trial had kept them itself."""
    reloaded: Agreement
    """The folder, loaded again as a user loads it."""


def closure(node: Node) -> dict[str, Node]:
    """Return a node and all that it rests on by digest, inputs first."""
    found: dict[str, Node] = {}
    for earlier in node.inputs.values():
        found |= closure(earlier)
    return {**found, node.digest: node}


class ExportFunction(Protocol):
    """The code behind an export."""

    def __call__(self, context: Context, export: Export) -> Verification:
        """Write the folder and load it again."""


@runtime_checkable
class Exportable(Protocol):
    """A pipeline that can turn a finished trial into a folder that other libraries load."""

    export_function: str
    """`module:function` of an :class:`ExportFunction`, imported late."""

    def export_node(self, last: Node, *, merge: bool) -> Node:
        """Return the node that holds what an export needs; it may lie outside the trial's graph.

        Args:
            last: The last node of the trial's graph.
            merge: Whether adapters are to be folded into the weights.

        Raises:
            InputError: Such a trial cannot be exported.
        """


@runtime_checkable
class Servable(Exportable, Protocol):
    """A pipeline whose exports can be loaded as a `transformers.Pipeline`, ready to predict."""

    load_function: str
    """`module:function` that takes an exported folder and returns the pipeline, imported late."""
