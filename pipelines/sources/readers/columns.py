"""From the columns of a file to `text`, `text_pair` and `label`; knows no file format."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contract import InputError
from pipelines.sources.base import Task, TaskKind
from pipelines.sources.local import matching
from pipelines.sources.readers import ROLES, Request, columns_of
from pipelines.sources.readers.words import labelled_words


def read_files(
    request: Request, read_file: Callable[[Path, Request], pa.Table]
) -> dict[str, pa.Table]:
    """Read all files of every split with one function and join them, filtered.

    Raises:
        InputError: A pattern matches nothing, or a file cannot be read.
    """
    splits = {}
    for split, pattern in request.paths.items():
        tables = [_read(path, request, read_file) for path in matching(request.root, pattern)]
        try:
            joined = pa.concat_tables(tables, promote_options="permissive")
        except pa.ArrowException as error:
            raise InputError(
                f"the files {pattern} do not agree on their columns: {error}", key="source"
            ) from error
        splits[split] = keep_rows(joined, request.options)
    return splits


def _read(path: Path, request: Request, read_file: Callable[[Path, Request], pa.Table]) -> pa.Table:
    try:
        return read_file(path, request)
    except (pa.ArrowException, ValueError, EOFError, OSError) as error:
        raise InputError(f"cannot read {path.name}: {error}", key="source") from error


def require_columns(names: Sequence[str], options: Mapping[str, Any], where: str) -> None:
    """Check that all columns with a role are there.

    Raises:
        InputError: One is not; the message lists those that are.
    """
    for role in ROLES:
        for column in set(columns_of(options, role)) - set(names):
            near = difflib.get_close_matches(column, names, n=1, cutoff=0.4)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(
                f"{where} has no column {column!r}; it has {', '.join(map(repr, names))}{hint}",
                key=role,
                nearest=near[0] if near else "",
            )


def keep_rows(table: pa.Table, options: Mapping[str, Any]) -> pa.Table:
    """Keep the rows whose columns have the values that the option `keep` lists by column."""
    for column, values in options.get("keep", {}).items():
        table = table.filter(pc.is_in(table[column], value_set=pa.array(values)))
    return table


def standardise(table: pa.Table, task: Task) -> pa.Table:
    """Return the columns of a task under their roles' names and in their roles' types.

    Raises:
        InputError: The label column does not fit the kind of the task.
    """
    if task.kind.labels_words:
        return labelled_words(table[task.options["text"]], table[task.options["label"]])
    if task.kind.has_images:
        name = task.options["label"]
        images = _images(table[task.options["image"]], task.options["image"])
        return pa.table({"image": images, "label": classes(table[name], name)})
    if task.kind.is_unlabelled:
        return unlabelled_texts(table, task.options)
    roles = ("text", "text_pair") if task.kind.is_pair else ("text",)
    columns = {role: _joined(table, columns_of(task.options, role), _strings) for role in roles}
    label, name = table[task.options["label"]], task.options["label"]
    columns["label"] = numbers(label, name) if task.kind.is_regression else classes(label, name)
    return pa.table(columns)


def _images(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Return the bytes of images; null where a row has none.

    They may stand in a column by themselves, or as `datasets` keeps them, beside their path.

    Raises:
        InputError: The column holds something else.
    """
    if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        column = pc.struct_field(column, "bytes")
    if column.type not in (pa.binary(), pa.large_binary(), pa.null()):
        raise InputError(
            f"kind is image-classification, but the column {name!r} holds {column.type}, not "
            "images: bytes of image files, as the feature Image of `datasets` writes them",
            key="image",
        )
    return pc.cast(column, pa.large_binary())


def _joined(
    table: pa.Table, names: Sequence[str], as_text: Callable[[pa.ChunkedArray], pa.ChunkedArray]
) -> pa.ChunkedArray:
    """Return one text a row: its columns a line each, those that a row lacks left out."""
    columns = [as_text(table[name]) for name in names]
    if len(columns) == 1:
        return columns[0]
    columns = [_blank_to_null(column) for column in columns]
    return pc.binary_join_element_wise(*columns, "\n", null_handling="skip")


def unlabelled_texts(table: pa.Table, options: Mapping[str, Any]) -> pa.Table:
    """Return the one column `text`: the words of a sentence joined, two texts as two rows."""

    def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
        if not pa.types.is_nested(column.type):
            return _strings(column)
        return pc.binary_join(pc.cast(column, pa.list_(pa.string())), " ")

    roles = [role for role in ("text", "text_pair") if options.get(role)]
    joined = [_joined(table, columns_of(options, role), as_text) for role in roles]
    chunks = [chunk for column in joined for chunk in column.chunks]
    return pa.table({"text": pa.chunked_array(chunks, pa.string())})


def kind_of(label: pa.ChunkedArray, *, is_pair: bool) -> TaskKind:
    """Return the kind that a label column suggests: regression where it holds fractions."""
    if holds_fractions(label):
        return TaskKind.PAIR_REGRESSION if is_pair else TaskKind.REGRESSION
    return TaskKind.PAIR_CLASSIFICATION if is_pair else TaskKind.CLASSIFICATION


def holds_fractions(label: pa.ChunkedArray) -> bool:
    """Return whether all values are numbers, some of them with a fraction."""
    try:
        values = pc.drop_null(pc.cast(_blank_to_null(label), pa.float64()))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    finite = values.filter(pc.is_finite(values))  # a missing number may be written as NaN
    return bool(pc.any(pc.not_equal(finite, pc.floor(finite))).as_py())


def classes(label: pa.ChunkedArray, column: str) -> pa.ChunkedArray:
    """Return class names; null where a row has none.

    Raises:
        InputError: The column holds real numbers, or lists.
    """
    if holds_fractions(label):
        raise InputError(
            f"the label column {column!r} holds real numbers, which are no classes; "
            "set kind: regression",
            key="kind",
            nearest=TaskKind.REGRESSION.value,
        )
    if pa.types.is_floating(label.type):  # whole numbers, as pandas writes them beside NaN
        finite = pc.if_else(pc.is_finite(label), label, pa.scalar(None, label.type))
        label = pc.cast(finite, pa.int64())
    return _blank_to_null(_strings(label))


def numbers(label: pa.ChunkedArray, column: str) -> pa.ChunkedArray:
    """Return labels as float64; null where a row has none or one that is not finite.

    Raises:
        InputError: A label is no number; the message quotes the first.
    """
    try:
        values = pc.cast(_blank_to_null(label), pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"kind is regression, but the label column {column!r} holds {_first_word(label)!r}, "
            "which is no number; name another column, or set kind: classification",
            key="kind",
            nearest=TaskKind.CLASSIFICATION.value,
        ) from error
    return pc.if_else(pc.is_finite(values), values, pa.scalar(None, pa.float64()))


def _first_word(label: pa.ChunkedArray) -> Any:
    for value in label.to_pylist():
        try:
            float(value if value is not None else 0)
        except (TypeError, ValueError):
            return value
    return label[0].as_py()


def _blank_to_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_string(column.type):
        return column
    trimmed = pc.utf8_trim_whitespace(column)
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def _strings(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return pc.cast(column, pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            raise InputError(
                "a column holds lists, as of words or their tags; set kind: token-classification",
                key="kind",
                nearest=TaskKind.TOKEN_CLASSIFICATION.value,
            ) from error
        raise InputError(
            f"a column of type {column.type} cannot be used as text or class", key="text"
        ) from error
