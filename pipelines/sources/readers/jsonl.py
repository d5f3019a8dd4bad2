"""Files of JSON objects, one a line or one list; nested values are not looked into."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.json as arrow_json

from pipelines.contract import InputError
from pipelines.sources.readers import Request, columns_of
from pipelines.sources.readers.columns import read_files, require_columns

BLOCK_BYTES = 32 << 20
"""An object must fit into one block."""


def read_jsonl(request: Request) -> dict[str, pa.Table]:
    """Read JSON lines, or a file that holds one JSON list of objects.

    The option `lists` says that the text is a list of words.

    Raises:
        InputError: A file or column is missing, or a line is no JSON object.
    """
    return read_files(request, _read_file)


def read_labelled_by_name(request: Request) -> dict[str, pa.Table]:
    """Read JSON lines whose class is the file's name without suffix, underscores as spaces.

    The option `skip` lists classes to leave out.
    """
    return read_files(request, _read_class)


def _read_file(path: Path, request: Request) -> pa.Table:
    with pa.input_stream(str(path), compression="detect") as stream:
        is_list = stream.read(64).lstrip()[:1] == b"["
    with pa.input_stream(str(path), compression="detect") as stream:
        table = _parse_list(stream) if is_list else _parse(stream, request)
    # A column that is asked for and nowhere in the file comes as nulls only.
    names = [name for name in table.schema.names if table[name].null_count < len(table)]
    require_columns(names, request.options, path.name)
    return table.select(request.columns)


def _parse_list(stream: pa.NativeFile) -> pa.Table:
    rows = json.load(stream)
    strange = next((row for row in rows if not isinstance(row, dict)), None)
    if strange is not None:
        raise ValueError(f"the list holds {strange!r}, which is no JSON object")
    return pa.Table.from_pylist(rows)


def _parse(stream: pa.NativeFile, request: Request) -> pa.Table:
    # Texts are declared, lest a column of dates be read as dates.
    texts = [name for role in ("text", "text_pair") for name in columns_of(request.options, role)]
    text = pa.list_(pa.string()) if request.options.get("lists") else pa.string()
    schema = pa.schema([(name, text) for name in texts])
    return arrow_json.read_json(
        stream,
        arrow_json.ReadOptions(block_size=BLOCK_BYTES),
        arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer"),
    )


def _read_class(path: Path, request: Request) -> pa.Table:
    label = path.name.split(".")[0].replace("_", " ")
    text = request.options["text"]
    if label in request.options.get("skip", ()):
        return pa.table({text: pa.array([], pa.string()), "label": pa.array([], pa.string())})
    with pa.input_stream(str(path), compression="detect") as stream:
        table = _parse(stream, request)
    if text not in table.schema.names:
        raise InputError(f"{path.name} has no column {text!r}", key="text")
    return pa.table({text: table[text], "label": pa.array([label] * len(table), pa.string())})
