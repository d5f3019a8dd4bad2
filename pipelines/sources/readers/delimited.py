"""CSV and TSV files, plain, compressed, or inside an archive; columns arrive as strings."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from pyarrow import csv

from pipelines.sources.archives import opened
from pipelines.sources.readers import Request
from pipelines.sources.readers.columns import read_files, require_columns

BLOCK_BYTES = 32 << 20
"""A row must fit into one block; pyarrow's own megabyte is too little for long documents."""


def read_delimited(request: Request) -> dict[str, pa.Table]:
    """Read delimited text.

    Options: `separator` (default a comma), `quoted` (whether a quote may hold separators and line
    ends; by default it may, but in TSV where quotes are seen to be text), `names` (of the columns,
    where the file has no header), `type_rows` (rows after the header that hold no data).

    Raises:
        InputError: A file or column is missing, or a row does not fit the header.
    """
    return read_files(request, _read_path)


def read_archived(request: Request) -> dict[str, pa.Table]:
    """Read delimited text inside a zip or tar file; option `member` is its path in there."""
    return read_files(request, _read_member)


def _read_path(path: Path, request: Request) -> pa.Table:
    if request.options.get("separator") == "\t" and _quotes_are_text(path):
        request = replace(request, options={"quoted": False, **request.options})
    with pa.input_stream(str(path), compression="detect") as stream:
        names = _header(stream, request.options)
    require_columns(names, request.options, path.name)
    with pa.input_stream(str(path), compression="detect") as stream:
        return _parse(stream, request)


def _quotes_are_text(path: Path) -> bool:
    """Return whether a quote that opens a field of a TSV file is text, as in many a corpus.

    Every line has all fields then, and some field has no closing quote; read as a quote, it would
    swallow the rows up to the next one.
    """
    is_open = False
    num_fields = 0
    with pa.input_stream(str(path), compression="detect") as stream:
        for line in io.BufferedReader(stream):
            fields = line.rstrip(b"\r\n").split(b"\t")
            num_fields = num_fields or len(fields)
            if len(fields) != num_fields and line.strip():
                return False
            if b'"' in line and not is_open:
                is_open = any(f.startswith(b'"') and f.count(b'"') % 2 for f in fields)
    return is_open


def _read_member(path: Path, request: Request) -> pa.Table:
    with opened(path) as archive, archive.open(request.options["member"]) as stream:
        return _parse(stream, request)


def _header(stream: IO[bytes], options: Mapping[str, Any]) -> list[str]:
    if "names" in options:
        return list(options["names"])
    reader = csv.open_csv(stream, csv.ReadOptions(block_size=BLOCK_BYTES), _parse_options(options))
    return list(reader.schema.names)


def _parse(stream: IO[bytes], request: Request) -> pa.Table:
    options = request.options
    return csv.read_csv(
        stream,
        csv.ReadOptions(
            block_size=BLOCK_BYTES,
            column_names=options.get("names"),
            skip_rows_after_names=options.get("type_rows", 0),
        ),
        _parse_options(options),
        csv.ConvertOptions(
            include_columns=request.columns,
            column_types={name: pa.string() for name in request.columns},
        ),
    )


def _parse_options(options: Mapping[str, Any]) -> csv.ParseOptions:
    quoted = options.get("quoted", True)
    return csv.ParseOptions(
        delimiter=options.get("separator", ","),
        quote_char='"' if quoted else False,
        newlines_in_values=quoted,
    )
