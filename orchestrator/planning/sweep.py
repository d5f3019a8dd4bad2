"""What a sweep file may say: keys, types, units and defaults; not what the names in it mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag, field_validator
from pydantic_core import PydanticCustomError

from cluster.job import Resources
from orchestrator.errors import nearest_name
from orchestrator.planning.regions import nearest_region, regions
from pipelines.schema import Schema, TestSize, TrainSize, ValidationSize
from pipelines.sources.entries import MadeModelsEntry, ModelEntry, TaskEntry


class _Part(Schema):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _kind(value: Any) -> str:
    """Say which branch of a union a value means, so that a fault is told of that branch only."""
    if isinstance(value, str):
        return "str"
    if _is_list(value):
        return "list"
    return "int" if isinstance(value, int) else "mapping"


def _model_kind(value: Any) -> str:
    """Say which kind of entry a model is; a misspelt key counts for the one nearest to it."""
    if isinstance(value, MadeModelsEntry):
        return "made"
    kind = _kind(value)
    if not isinstance(value, Mapping):
        return kind
    pinned, made = ModelEntry.model_fields, MadeModelsEntry.model_fields
    own = made.keys() - pinned.keys()
    is_made = any(nearest_name(str(key), [*pinned, *made]) in own for key in value)
    return "made" if is_made else kind


_Model = Annotated[
    Annotated[str, Tag("str")]
    | Annotated[ModelEntry, Tag("mapping")]
    | Annotated[MadeModelsEntry, Tag("made")],
    Discriminator(_model_kind),
]
_Task = Annotated[
    Annotated[str, Tag("str")] | Annotated[TaskEntry, Tag("mapping")], Discriminator(_kind)
]
_Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Metric(_Part):
    """The metric that ranks configs, in place of each task's own."""

    name: str
    """A metric that the pipeline computes, as `accuracy` or `f1_macro`."""
    mode: Literal["max", "min"] | None = None
    """Whether more or less is better; by default what the metric's definition says."""


class TrialResources(_Part):
    """What one trial needs while it trains."""

    num_cpus: float = Field(default=1, gt=0)
    """Cores; also the number of threads of the numerical libraries."""
    num_gpus: float = Field(default=0, ge=0)
    """Accelerators; a fraction lets several trials share one."""
    share_gpus: bool = True
    """Whether trials that ask for one whole accelerator share it where all their peak memory is
    recorded and fits; results stay the same."""
    memory_gib: float = Field(default=0, ge=0)
    """Memory to reserve, in GiB; 0 reserves none."""

    def unshared(self) -> Resources:
        """Return what a trial has where it shares no accelerator."""
        return Resources(num_cpus=self.num_cpus, num_gpus=self.num_gpus, memory_gib=self.memory_gib)


class Tracking(_Part):
    """Where MLflow keeps the runs, and how many of them."""

    uri: str | None = None
    """MLflow's tracking URI; by default a SQLite file in the sweep's own folder."""
    detail: Literal["auto", "trial", "config", "sweep"] = "auto"
    """What has a run of its own in MLflow: every `trial` and config, every `config`, or the
    `sweep` only. `auto` makes at most 2,000 runs of a kind. A table of all trials is always there.
    """


class Energy(_Part):
    """How the energy of a sweep is told."""

    region: str | None = None
    """The country whose electricity is used, by its ISO 3166-1 code of three letters, as `DEU`;
    with it emissions are told besides energy."""

    @field_validator("region")
    @classmethod
    def _a_known_region(cls, value: str | None) -> str | None:
        if value is not None and value not in regions():
            raise PydanticCustomError(
                "unknown_region",
                "{what}",
                {
                    "what": f"no region of codecarbon's table of {len(regions())} countries, which "
                    "has ISO codes of three letters",
                    "nearest": nearest_region(value),
                },
            )
        return value


class Sweep(_Part):
    """One request: models x tasks x points of the space x seeds."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
    """Names the sweep's folder and its MLflow experiment: letters, digits, `.`, `_` and `-`"""
    pipeline: str = "transfer"
    """What a trial does: a pipeline of `fanflare catalog`, or `package.module:attribute`."""
    models: Annotated[
        Annotated[str, Tag("str")]
        | Annotated[tuple[_Model, ...], Tag("list")]
        | Annotated[ModelEntry, Tag("mapping")]
        | Annotated[MadeModelsEntry, Tag("made")],
        Discriminator(_model_kind),
    ] = ()
    """Models by name or source, or how they are made: one, or a list."""
    tasks: Annotated[
        Annotated[str, Tag("str")]
        | Annotated[tuple[_Task, ...], Tag("list")]
        | Annotated[TaskEntry, Tag("mapping")],
        Discriminator(_kind),
    ] = ()
    """Downstream tasks by name or source: one, or a list."""
    seeds: Annotated[
        Annotated[int, Field(ge=1, le=10_000), Tag("int")]
        | Annotated[tuple[_Seed, ...], Tag("list")],
        Discriminator(lambda value: "list" if _is_list(value) else "int"),
    ] = 1
    """How many seeds (0, 1, ...), or a list of them."""
    space: Annotated[
        Annotated[dict[str, Any], Tag("mapping")]
        | Annotated[tuple[dict[str, Any], ...], Tag("list")],
        Discriminator(lambda value: "list" if _is_list(value) else "mapping"),
    ] = Field(default_factory=dict)
    """The pipeline's params as in scikit-learn's ParameterGrid: lists are axes, scalars are fixed.
    A list of mappings unites their grids; each may narrow `models`, `tasks` or `seeds`."""
    metric: Metric | None = None
    """The metric that ranks configs; by default each task's own."""
    train_size: TrainSize = None
    """Training rows of each task: a count, a fraction of those there are, or `N per class`; by
    default all. A smaller subset is part of a larger one of the same form."""
    validation_size: ValidationSize = None
    """Validation rows of each task: a count, or a fraction."""
    test_size: TestSize = None
    """Test rows of each task: a count, or a fraction."""
    resources: TrialResources = Field(default_factory=TrialResources)
    """What one trial needs while it trains."""
    sharing: Literal["on", "off"] = "on"
    """Whether trials that have most of their work in common are computed together; `off` computes
    every trial alone. Equal stages are computed once in either case."""
    max_concurrent: int | None = Field(default=None, ge=1)
    """How many jobs run at once at most; by default as many as fit."""
    tracking: Annotated[
        Annotated[Literal["off"], Tag("str")] | Annotated[Tracking, Tag("mapping")],
        Discriminator(_kind),
    ] = Field(default_factory=Tracking)
    """MLflow's tracking, or `off`."""
    energy: Energy = Field(default_factory=Energy)
    """How the estimate of energy and emissions is told."""
    store: str | None = None
    """Where results are kept: a folder, or a URI as `s3://bucket/path`. By default
    `fanflare-store` in the current folder; a relative path in a file starts at that file."""

    @field_validator("seeds", mode="before")
    @classmethod
    def _not_a_truth_value(cls, value: Any) -> Any:
        if any(isinstance(seed, bool) for seed in (value, *(value if _is_list(value) else ()))):
            raise ValueError("a number of seeds or a list of seeds, not true or false")
        return value

    @field_validator("models", "tasks", "seeds", "space")
    @classmethod
    def _not_an_empty_list(cls, value: Any) -> Any:
        if value == () and isinstance(value, tuple):
            raise ValueError("the list is empty")
        return value

    @property
    def model_entries(self) -> tuple[str | ModelEntry | MadeModelsEntry, ...]:
        """The models as a tuple, however they were written."""
        return self.models if isinstance(self.models, tuple) else (self.models,)

    @property
    def task_entries(self) -> tuple[str | TaskEntry, ...]:
        """The tasks as a tuple, however they were written."""
        return self.tasks if isinstance(self.tasks, tuple) else (self.tasks,)

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds themselves."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    @property
    def data_sizes(self) -> Mapping[str, int | float | str]:
        """The sizes of splits that the sweep sets for all its tasks."""
        sizes = {
            "train_size": self.train_size,
            "validation_size": self.validation_size,
            "test_size": self.test_size,
        }
        return {name: size for name, size in sizes.items() if size is not None}
