"""What a pipeline is made of: stages, the graph of one trial, results; not who runs them or where.

A pipeline turns one trial into a graph of :class:`Node`. A node names a :class:`Stage`, the
params that determine its result, its sources (model, data) and its inputs (other nodes). The
digest of a node covers exactly these, so equal work has equal digests, in one sweep or in many.

The functions behind the stages are loaded by name on the worker; this module and everything a
pipeline needs to be planned import no torch.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.labels import Fidelity

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

Json = Any
"""A value that `json` can write: None, bool, int, float, str, and lists and dicts of these."""


def digest_of(content: Json) -> str:
    """Return the SHA-256 of a JSON value in canonical form (sorted keys, no spaces), in hex."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def load_object(name: str) -> Any:
    """Import `package.module:attribute` and return the attribute.

    Raises:
        ImportError: The module cannot be imported.
        AttributeError: The module has no such attribute.
        ValueError: The name has no colon.
    """
    module, separator, attribute = name.partition(":")
    if not separator:
        raise ValueError(f"{name!r} is not of the form 'package.module:attribute'")
    return getattr(importlib.import_module(module), attribute)


class PipelineError(Exception):
    """A failure whose cause a stage knows; anything else that a stage raises is a bug.

    PipelineError
    |- InputError    the user's data or model cannot be used as asked
    |- CommandError  a program of the user's own did not end well
    `- DivergedError the training loss is no longer finite
    """


class InputError(PipelineError):
    """The user's data or model cannot be used as asked.

    Attributes:
        key: The key of the sweep file that names the culprit, for example `label`; may be empty.
        nearest: The nearest valid value; may be empty.
    """

    def __init__(self, message: str, *, key: str = "", nearest: str = "") -> None:
        super().__init__(message)
        self.key = key
        self.nearest = nearest


class CommandError(PipelineError):
    """A program of the user's own failed, was ended, or took too long."""


class DivergedError(PipelineError):
    """The training loss is no longer finite."""


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """How nodes of one stage that differ in little are computed together, and what that costs."""

    function: str
    """`module:function` of a :class:`~pipelines.cohorts.CohortFunction`, imported on the worker."""
    fusable_params: frozenset[str]
    """Params in which the members may differ."""
    fusable_inputs: frozenset[str] = frozenset()
    """Roles of inputs in which the members may differ, as long as these rest on the same models
    and data."""
    fidelity: Fidelity
    """The label of what is computed with more than one member."""
    shared: str
    """What the members have in common, for people: `one pass of the frozen model`."""
    fixed_cost: float
    """What a cohort costs besides its members, in units of the cost of one node alone."""
    member_cost: float
    """What each member costs, in the same unit; estimates until timings are recorded."""
    scales: bool = False
    """Whether a job of it is faster the more cores it has; it may then use idle ones."""
    nested_params: frozenset[str] = frozenset()
    """Params of which one member's work holds that of all with lower values, as it may of `epochs`:
    members that differ in nothing else stay together where a cohort is split."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One kind of step, declared so that it can be planned without importing what it needs."""

    name: str
    """Qualified by its pipeline, for example `transfer/encode`."""
    version: int
    """Raised whenever the function would give another result for the same node."""
    function: str
    """`module:function` of a :class:`StageFunction`, imported on the worker."""
    typical_s: float
    """Seconds one node takes on a laptop core: the estimate until a timing is recorded."""
    scales: bool = False
    """Whether one node is about as many times faster as it has cores; it may then use idle ones."""
    cohort: Cohort | None = None
    """How nodes are computed together; None where each is computed alone."""
    cohort_on_accelerator: Cohort | None = None
    """How they are on an accelerator, where that is another way."""
    checks_input: bool = False
    """Whether this stage finds faults in the user's data; such stages run before all others."""
    needs_accelerator: bool = True
    """Whether the stage can use the `num_gpus` of a trial; loading and tokenising cannot."""

    @property
    def can_share(self) -> bool:
        """Whether its nodes may be computed together somewhere."""
        return bool(self.cohort or self.cohort_on_accelerator)

    def on(self, *, has_accelerator: bool) -> Stage:
        """Return the stage as it is where there is an accelerator, or none."""
        if has_accelerator and self.cohort_on_accelerator is not None:
            return replace(self, cohort=self.cohort_on_accelerator)
        return self


class Pinned(Protocol):
    """A model or a data set whose content digest is known."""

    @property
    def name(self) -> str:
        """The name people call it by."""

    @property
    def digest(self) -> str:
        """The digest of everything that determines its content."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One stage of one trial, before equal nodes of many trials are merged."""

    stage: Stage
    params: Mapping[str, Json] = field(default_factory=dict)
    """What determines the result besides sources and inputs; a seed is a param here."""
    sources: Mapping[str, Pinned] = field(default_factory=dict)
    """Models and data by role; only their digests enter this node's digest."""
    inputs: Mapping[str, Node] = field(default_factory=dict)
    """Earlier nodes by role."""
    keep: frozenset[str] = frozenset()
    """Extras: what is to be kept of the work besides the result, as scores that few others need.
    They are no part of the identity; an artifact that lacks one is made again, with it."""

    @cached_property
    def digest(self) -> str:
        """The identity of this node's result, 64 hex digits."""
        return digest_of(
            {
                "stage": self.stage.name,
                "version": self.stage.version,
                "params": dict(self.params),
                "sources": {role: source.digest for role, source in self.sources.items()},
                "inputs": {role: node.digest for role, node in self.inputs.items()},
            }
        )

    def on(self, *, has_accelerator: bool) -> Node:
        """Return the node as it is computed where there is an accelerator, or none."""
        stage = self.stage.on(has_accelerator=has_accelerator)
        return self if stage is self.stage else replace(self, stage=stage)

    @cached_property
    def cohort_digest(self) -> str:
        """What all nodes have in common that may be computed together; empty where none may."""
        cohort = self.stage.cohort
        if cohort is None:
            return ""
        return digest_of(
            {
                "stage": self.stage.name,
                "version": self.stage.version,
                "params": {n: v for n, v in self.params.items() if n not in cohort.fusable_params},
                "sources": {role: source.digest for role, source in self.sources.items()},
                "inputs": {
                    role: sorted(node.origins) if role in cohort.fusable_inputs else node.digest
                    for role, node in self.inputs.items()
                },
            }
        )

    @property
    def origins(self) -> frozenset[str]:
        """The digests of all models and data on which it rests."""
        own = {source.digest for source in self.sources.values()}
        return frozenset(own.union(*(node.origins for node in self.inputs.values())))


MAX_STEP = 2**63 - 1
"""The highest step of a curve: a column of a database holds no more."""


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What one member leaves behind; the worker writes it into the store.

    Three keys of `value` have a meaning beyond the pipeline: `metrics` (final numbers by name,
    as `test/accuracy`), `curve` (a list of points `{"step": int, name: number, ...}`) and
    `datasets` (a list of `{"name", "digest", "split", "num_rows", "source"}`). The worker adds
    the names of the extras that it asked for, and the label of its fidelity; see
    :mod:`pipelines.labels`.
    """

    value: Mapping[str, Json] = field(default_factory=dict)
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


class Artifact(Protocol):
    """What an earlier stage left behind, read on demand."""

    @property
    def value(self) -> Mapping[str, Json]:
        """The JSON value of the result."""

    def table(self, name: str) -> pa.Table:
        """Return an Arrow table, memory-mapped where the store allows it."""

    def array(self, name: str) -> np.ndarray:
        """Return an array; treat it as read-only."""

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """All arrays by name; treat them as read-only."""


class Checkpoint(Protocol):
    """Where a stage that takes long keeps how far it has come, so that another attempt goes on."""

    def is_due(self) -> bool:
        """Return whether it is time to save: often enough for a crash, seldom enough for speed."""

    def save(self, arrays: Mapping[str, np.ndarray], value: Mapping[str, Json]) -> None:
        """Keep a state in place of the last one."""

    def load(self) -> tuple[Mapping[str, np.ndarray], Mapping[str, Json]] | None:
        """Return the state that an earlier attempt saved last, or None."""


class Context(Protocol):
    """What the worker offers to a stage."""

    num_cpus: int
    """Cores that this stage may use."""
    device: str
    """`cpu`, or torch's name of the accelerator given to this worker."""

    @property
    def scratch(self) -> Path:
        """An empty local folder, removed after the call."""

    keep: frozenset[str]
    """The extras that are wanted of this call; see :attr:`Node.keep`."""

    def checkpoint(self, member: int) -> Checkpoint:
        """Return the checkpoint of a member of the call, by its position."""

    def free_memory_gib(self) -> float:
        """Return how much more memory of the device this stage may take, in GiB."""

    def cached(self, key: str, load: Callable[[], Any]) -> Any:
        """Return `load()`, kept in this process for later stages; the least used goes first."""


Member = Mapping[str, Json]
"""The full params of one member of a call."""


class StageFunction(Protocol):
    """The code behind a stage: one result a member, in the same order.

    A member's result depends on its own params, the sources and the inputs only, never on who
    else is in the call.
    """

    def __call__(
        self,
        context: Context,
        members: Sequence[Member],
        inputs: Mapping[str, Artifact],
        sources: Mapping[str, Any],
    ) -> Sequence[StageResult]:
        """Compute the results of all members."""
