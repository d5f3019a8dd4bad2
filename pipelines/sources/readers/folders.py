"""Text files whose folder's name is their class."""

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


def _read_text(path: Path, request: Request) -> pa.Table:
    text = path.read_text(encoding="utf-8", errors="replace")
    return pa.table({"text": [text], "label": [path.parent.name]})
