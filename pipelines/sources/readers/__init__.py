"""The table of readers, and the one way to read a task; each format has its own module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipelines.contract import load_object
from pipelines.sources.base import Task
from pipelines.sources.fetching import fetch

if TYPE_CHECKING:
    import pyarrow as pa

READERS = {
    "delimited": "pipelines.sources.readers.delimited:read_delimited",
    "archived-delimited": "pipelines.sources.readers.delimited:read_archived",
    "jsonl": "pipelines.sources.readers.jsonl:read_jsonl",
    "jsonl-folders": "pipelines.sources.readers.jsonl:read_labelled_by_name",
    "parquet": "pipelines.sources.readers.columnar:read_parquet",
    "arrow": "pipelines.sources.readers.columnar:read_arrow",
    "text-folders": "pipelines.sources.readers.folders:read_text_folders",
    "text-lines": "pipelines.sources.readers.folders:read_text_lines",
    "plain": "pipelines.sources.readers.plain:read_plain",
    "conll": "pipelines.sources.readers.conll:read_conll",
    "conllu-texts": "pipelines.sources.readers.plain:read_conllu_texts",
    "conllu": "pipelines.sources.readers.conll:read_conllu",
    "image-folders": "pipelines.sources.readers.images:read_image_folders",
    "pixel-rows": "pipelines.sources.readers.images:read_pixel_rows",
    "icd10-xml": "pipelines.sources.readers.icd10:read_icd10",
    "hub-dataset": "pipelines.sources.readers.hub:read_hub_dataset",
}
"""Reader name -> `module:function` of a :class:`Reader`, imported when first used."""

CONLL: tuple[str, Mapping[str, Any]] = ("conll", {"text": "1", "label": "-1"})
"""The reader of files with one word a line, which have no suffix of their own, and its options."""
PLAIN: tuple[str, Mapping[str, Any]] = ("plain", {"text": "text"})
"""The reader of files of which no suffix says more than that they are text."""
SUFFIXES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    ".csv": ("delimited", {"separator": ","}),
    ".tsv": ("delimited", {"separator": "\t"}),
    ".tab": ("delimited", {"separator": "\t", "type_rows": 2}),
    ".jsonl": ("jsonl", {}),
    ".ndjson": ("jsonl", {}),
    ".json": ("jsonl", {}),
    ".parquet": ("parquet", {}),
    ".arrow": ("arrow", {}),
    ".feather": ("arrow", {}),
    ".conll": CONLL,
    ".conllu": ("conllu", {"text": "form", "label": "upos"}),
}
"""The reader and its options for files of the user, by suffix; `.tab` is Orange's format."""
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
"""Files of the user that are an image each, by suffix in small letters."""
ROLES = ("text", "text_pair", "image", "label")
"""What a column may be to a task."""
COMPRESSED = (".gz", ".bz2", ".zst")
"""Suffixes that text files may carry besides."""


def columns_of(options: Mapping[str, Any], role: str) -> list[str]:
    """Return the columns of a role: none, one, or several whose texts are joined."""
    given = options.get(role) or []
    return [given] if isinstance(given, str) else list(given)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a reader is asked for."""

    root: Path
    """The fetched source: a file or folder."""
    paths: Mapping[str, str]
    """Paths or glob patterns inside it, by split."""
    options: Mapping[str, Any]
    """The task's options: the columns by role (:data:`ROLES`) and the format's."""
    without_images: bool = False
    """Whether the images themselves may stay unread, as when only their labels are looked at."""

    @property
    def columns(self) -> list[str]:
        """The columns to read: those with a role and those filtered on, each once."""
        unread = ("image",) if self.without_images else ()
        roles = [columns_of(self.options, role) for role in ROLES if role not in unread]
        return list(dict.fromkeys([*chain(*roles), *self.options.get("keep", {})]))


Reader = Callable[[Request], "dict[str, pa.Table]"]
"""Returns the wanted columns under their own names and in their own types, by split."""


def read_columns(task: Task, *, without_images: bool = False) -> dict[str, pa.Table]:
    """Fetch a task and read its columns as they are, by split; on request without the images.

    Raises:
        InputError: The source, a file or a column is not there, or a file cannot be read.
    """
    reader = cast(Reader, load_object(READERS[task.reader]))
    request = Request(
        root=fetch(task.source),
        paths=task.source.paths,
        options=task.options,
        without_images=without_images,
    )
    return reader(request)


def read(task: Task) -> dict[str, pa.Table]:
    """Fetch and read the examples of a task.

    Returns:
        By split (`train`, `validation`, `test`; `all` where there are no official splits) a
        table with `text` (string), `text_pair` (string, pair kinds only) and `label` (the class
        name as a string, or float64); nulls where the source has none. Where words are labelled,
        `tokens` and `labels`, both lists of strings, one row a sentence. Of images `image` (the
        bytes of a file, large_binary) instead of `text`.

    Raises:
        InputError: As of :func:`read_columns`, or the labels do not fit the kind.
    """
    from pipelines.sources.readers.columns import standardise  # noqa: PLC0415 - pyarrow is late

    return {split: standardise(table, task) for split, table in read_columns(task).items()}
