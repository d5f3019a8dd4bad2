"""The tabular list of ICD-10-CM: each description an example, its chapter the class."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pyarrow as pa

from pipelines.sources.readers import Request
from pipelines.sources.readers.columns import read_files


def read_icd10(request: Request) -> dict[str, pa.Table]:
    """Read the descriptions of all codes, headings and leaves alike, with their chapter's name."""
    return read_files(request, _read_chapters)


def _read_chapters(path: Path, request: Request) -> pa.Table:
    texts, labels = [], []
    # The standard parser loads no external entities; the file's digest is pinned besides.
    for chapter in ET.parse(path).getroot().iter("chapter"):  # noqa: S314
        name = re.sub(r"\s*\([^()]*\)$", "", chapter.findtext("desc", ""))
        for code in chapter.iter("diag"):
            texts.append(code.findtext("desc"))
            labels.append(name)
    return pa.table({"text": pa.array(texts, pa.string()), "label": labels})
