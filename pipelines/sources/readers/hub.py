"""Data sets of the hub, read by `datasets` from a downloaded snapshot; its code is never run."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipelines.contract import InputError
from pipelines.sources.readers import Request
from pipelines.sources.readers.columnar import name_classes
from pipelines.sources.readers.columns import keep_rows, require_columns


def read_hub_dataset(request: Request) -> dict[str, pa.Table]:
    """Read the splits of a snapshot; class numbers become names.

    Options: `config`, the data set's configuration. The paths name the hub's split for each of
    ours, or a file pattern; without paths all splits named as ours are taken, and a data set
    that has only `train` has no official split.

    Raises:
        InputError: There is no such configuration, split or column.
    """
    patterns = {split: path for split, path in request.paths.items() if "." in path or "*" in path}
    loaded = _load(request, patterns)
    named = {split: path for split, path in request.paths.items() if split not in patterns}
    wanted = {split: split for split in patterns} | named or _official(loaded)
    splits = {}
    for split, name in wanted.items():
        if name not in loaded:
            near = difflib.get_close_matches(name, list(loaded), n=1)
            raise InputError(
                f"the data set has no split {name!r}; it has {', '.join(loaded)}",
                key="splits",
                nearest=near[0] if near else "",
            )
        table = loaded[name].with_format("arrow")[:]
        require_columns(table.schema.names, request.options, f"split {name!r}")
        table = _with_images(table.select(request.columns), loaded[name].features, request)
        splits[split] = keep_rows(
            name_classes(table, loaded[name].features.arrow_schema, request.options.get("label")),
            request.options,
        )
    return splits


def _load(request: Request, patterns: Mapping[str, str]) -> Any:
    from datasets import load_dataset  # noqa: PLC0415 - it takes a second, and may be absent

    try:
        return load_dataset(
            str(request.root),
            request.options.get("config"),
            data_files=dict(patterns) or None,
        )
    except (ValueError, OSError) as error:
        raise InputError(f"cannot read the data set: {error}", key="source") from error


def _with_images(table: pa.Table, features: Mapping[str, Any], request: Request) -> pa.Table:
    """Return a table whose images are there as bytes, where they were the names of files."""
    column = request.options.get("image", "")
    if column not in table.schema.names or not hasattr(features[column], "embed_storage"):
        return table
    chunks = [
        features[column].embed_storage(chunk, remote_files=False) for chunk in table[column].chunks
    ]
    place = table.schema.names.index(column)
    return table.set_column(place, column, pa.chunked_array(chunks, features[column].pa_type))


def _official(loaded: Mapping[str, Any]) -> dict[str, str]:
    ours = {name: name for name in ("train", "validation", "test") if name in loaded}
    if not ours:
        raise InputError(
            f"the data set has the splits {', '.join(loaded)}; say under `splits` which of them "
            "is train",
            key="splits",
        )
    return {"all": "train"} if list(ours) == ["train"] else ours
