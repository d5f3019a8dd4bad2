"""How a sweep file writes a model or a task as a mapping; not how these are looked up."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from pipelines.sources.base import TaskKind

ClassificationMetric = Literal["accuracy", "f1", "f1_macro", "matthews_corrcoef"]
RegressionMetric = Literal["pearson", "spearmanr", "mean_squared_error"]
TokenMetric = Literal["accuracy", "f1", "f1_macro"]
LanguageMetric = Literal["perplexity", "loss"]

Column = Annotated[
    str,
    Field(coerce_numbers_to_str=True),
    WithJsonSchema({"type": ["string", "integer"]}),
]
"""The name of a column, or its number where columns have no names."""


def _columns(value: Any) -> str | tuple[str, ...]:
    given = value if isinstance(value, list | tuple) else (value,)
    if not given or any(
        isinstance(name, bool) or not isinstance(name, str | int) for name in given
    ):
        raise ValueError("the name of a column, or a list of names")
    names = tuple(str(name) for name in given)
    return names[0] if len(names) == 1 else names


_NAME = {"type": ["string", "integer"]}
Columns = Annotated[
    str | tuple[str, ...],
    BeforeValidator(_columns),
    WithJsonSchema({"anyOf": [_NAME, {"type": "array", "items": _NAME, "minItems": 1}]}),
]
"""One column, or several whose texts are joined."""

SHA256 = r"^[0-9a-f]{64}$"


class ModelEntry(BaseModel):
    """A pre-trained model, written as a mapping."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = Field(min_length=1)
    """The name shown in tables; without `source` the name of a model of the catalogue."""
    source: str | None = None
    """A folder that `save_pretrained` wrote (`./my-model`), `hub:owner/name@revision`, or
    `pypi:PACKAGE==VERSION/folder/inside`."""
    digest: str | None = Field(default=None, pattern=SHA256)
    """SHA-256 that the folder's content or the package's file must have, 64 hex digits."""


def _space_kind(value: Any) -> str:
    return "list" if isinstance(value, list | tuple) else "mapping"


MadeSpace = Annotated[
    Annotated[dict[str, Any], Tag("mapping")] | Annotated[tuple[dict[str, Any], ...], Tag("list")],
    Discriminator(_space_kind),
]
"""Axes by the convention of a sweep's `space`; the pipeline that they are for knows them."""


class MadeModelsEntry(BaseModel):
    """Models that the sweep makes itself, one for each point of a space."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str | None = Field(default=None, min_length=1)
    """The beginning of their names; what varies among them follows. By default that of the
    pipeline that makes them."""
    pretrain: MadeSpace | None = None
    """The params of the pipeline `pretrain`: lists are axes, scalars are fixed, a list of mappings
    unites their grids. `seeds` in it says how many fresh starts each variant gets, or which."""
    pipeline: str | None = None
    """Another pipeline that makes models, as `package.module:attribute`; `space` has its params."""
    space: MadeSpace | None = None
    """The params of `pipeline`, written as under `pretrain`."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.pretrain is None) == (self.pipeline is None):
            raise ValueError("a model is made by `pretrain`, or by `pipeline` with its `space`")
        if (self.pipeline is None) != (self.space is None):
            raise ValueError("`pipeline` and `space` belong together")
        if self.points == ():
            raise ValueError("the list is empty")
        return self

    @property
    def maker(self) -> str:
        """The pipeline that makes the models."""
        return self.pipeline or "pretrain"

    @property
    def space_key(self) -> str:
        """The key under which their space stands."""
        return "pretrain" if self.pipeline is None else "space"

    @property
    def points(self) -> dict[str, Any] | tuple[dict[str, Any], ...]:
        """Their space as it was written."""
        written = self.pretrain if self.pipeline is None else self.space
        return {} if written is None else written


class TaskEntry(BaseModel):
    """A downstream task, written as a mapping."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = Field(min_length=1)
    """The name shown in tables; without `source` the name of a task of the catalogue."""
    source: str | None = None
    """A file or folder (`./reviews.csv`), `hub:owner/name:config@revision`, or
    `pypi:PACKAGE==VERSION/file/inside.csv`."""
    kind: TaskKind | None = None
    """What is predicted; by default regression where the label column holds fractions, else
    classification, and a pair kind where `text_pair` is given; files of the formats CoNLL and
    CoNLL-U are token-classification, a folder of images is image-classification."""
    text: Columns = "text"
    """The column that holds the text, or the list of words; in a CoNLL file its number, counted
    from 1, in CoNLL-U its name; by default the words. The texts of a list of columns are joined,
    each on a line of its own."""
    text_pair: Columns | None = None
    """The column that holds the second text of a pair, or a list of columns as for `text`."""
    image: Column = "image"
    """The column that holds the image; where it is given, kind is image-classification."""
    label: Column = "label"
    """The column that holds the class or the number to predict, or the list of the words' tags;
    by default the last of a CoNLL file, `upos` in CoNLL-U."""
    metric: ClassificationMetric | RegressionMetric | TokenMetric | LanguageMetric | None = None
    """The metric that ranks configs; by default `accuracy` for classes, `pearson` for numbers,
    `f1` for BIO tags, `perplexity` of language modelling."""
    positive: str | None = None
    """The class that `f1` looks at where there are two; by default the second by alphabet."""
    splits: dict[Literal["train", "validation", "test"], str] | None = None
    """Where the official splits are: a path or glob pattern inside `source`, or the name of a
    split of the hub. Splits that are not there are taken out of `train`."""
    digest: str | None = Field(default=None, pattern=SHA256)
    """SHA-256 that the file or the package's file must have, 64 hex digits."""
