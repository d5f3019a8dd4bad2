"""Parquet, Arrow IPC and Feather files; class names are found where the hub's format keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.sources.readers import Request
from pipelines.sources.readers.columns import read_files, require_columns


def read_parquet(request: Request) -> dict[str, pa.Table]:
    """Read Parquet files.

    Raises:
        InputError: A file or column is missing, or a file is damaged.
    """
    return read_files(request, _read_parquet)


def read_arrow(request: Request) -> dict[str, pa.Table]:
    """Read Arrow IPC files (also Feather), in the file or the stream format.

    Raises:
        InputError: A file or column is missing, or a file is damaged.
    """
    return read_files(request, _read_arrow)


def _read_parquet(path: Path, request: Request) -> pa.Table:
    schema = pq.read_schema(path)
    require_columns(schema.names, request.options, path.name)
    table = pq.read_table(path, columns=request.columns)
    return name_classes(table, schema, request.options.get("label"))


def _read_arrow(path: Path, request: Request) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        try:
            table = pa.ipc.open_file(file).read_all()
        except pa.ArrowInvalid:  # `datasets` writes the stream format
            file.seek(0)
            table = pa.ipc.open_stream(file).read_all()
    require_columns(table.schema.names, request.options, path.name)
    return name_classes(table.select(request.columns), table.schema, request.options.get("label"))


def name_classes(table: pa.Table, schema: pa.Schema, label: str | None) -> pa.Table:
    """Replace class numbers by the names that `datasets` keeps in a schema's metadata, if any.

    The column may hold numbers or lists of them. A number outside of the names, as the -1 of
    unlabelled examples, becomes null. Without a label, None, the table stays as it is.
    """
    if label is None:
        return table
    noted = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    feature = noted.get("info", {}).get("features", {}).get(label, {})
    names = _class_names(feature)
    if not names:
        return table

    def name(number: Any) -> Any:
        if isinstance(number, list):
            return [name(one) for one in number]
        return names[number] if number is not None and 0 <= number < len(names) else None

    named = [name(number) for number in table[label].to_pylist()]
    place = table.schema.names.index(label)
    is_nested = pa.types.is_nested(table[label].type)
    strings = pa.list_(pa.string()) if is_nested else pa.string()
    return table.set_column(place, label, pa.array(named, strings))


def _class_names(feature: Any) -> list[str]:
    """Return the names of a feature; of a list those of its elements, however old its form."""
    if isinstance(feature, list):
        return _class_names(feature[0])
    if feature.get("_type") == "ClassLabel":
        return list(feature.get("names") or [])
    return _class_names(feature["feature"]) if "feature" in feature else []
