"""Text files whose folder's or whose own name is their class."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from pipelines.sources.readers import Request
from pipelines.sources.readers.columns import read_files


def read_text_folders(request: Request) -> dict[str, pa.Table]:
    """Read one example a file, in UTF-8; bytes that are not become U+FFFD.

    Raises:
        InputError: No file matches.
    """
    return read_files(request, _read_text)


def read_text_lines(request: Request) -> dict[str, pa.Table]:
    """Read one example a line, in UTF-8; its class is the file's name.

    Option `suffix` ends the names of all files and is no part of the class. Blank lines are none.

    Raises:
        InputError: No file matches.
    """
    return read_files(request, _read_lines)


def _read_lines(path: Path, request: Request) -> pa.Table:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    texts = [line.strip() for line in lines if line.strip()]
    label = path.stem.removesuffix(request.options.get("suffix", ""))
    return pa.table({"text": texts, "label": [label] * len(texts)})


def _read_text(path: Path, request: Request) -> pa.Table:
    text = path.read_text(encoding="utf-8", errors="replace")
    return pa.table({"text": [text], "label": [path.parent.name]})
