"""Plain text files, of which nothing but texts can be read; the column is called `text`."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa

from pipelines.contract import InputError
from pipelines.sources.readers import Request
from pipelines.sources.readers.columns import read_files


def read_plain(request: Request) -> dict[str, pa.Table]:
    """Read the texts of files: what stands between blank lines, or each line if none is blank.

    Blank lines at the ends of a file do not count. A text keeps its line ends. UTF-8; bytes that
    are not become U+FFFD.

    Raises:
        InputError: No file matches, or a file holds no text.
    """
    return read_files(request, _read_texts)


def read_conllu_texts(request: Request) -> dict[str, pa.Table]:
    """Read the sentences of CoNLL-U as they were written, from the comments `# text = ...`.

    The words of the format are others, as it takes contractions apart.
    """
    return read_files(request, _read_conllu_texts)


def _read_conllu_texts(path: Path, request: Request) -> pa.Table:
    texts = re.findall(r"^# text = (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return pa.table({request.options["text"]: pa.array(texts, pa.string())})


def _read_texts(path: Path, request: Request) -> pa.Table:
    with pa.input_stream(str(path), compression="detect") as stream:
        content = stream.read().decode("utf-8-sig", errors="replace").replace("\r\n", "\n")
    texts = texts_in(content)
    if not texts:
        raise InputError(f"{path.name} holds no text", key="source")
    return pa.table({request.options["text"]: texts})


def texts_in(content: str) -> list[str]:
    """Return the texts of a file's content."""
    paragraphs = re.split(r"\n(?:[ \t]*\n)+", content.strip())
    texts = paragraphs if len(paragraphs) > 1 else content.split("\n")
    return [text.strip() for text in texts if text.strip()]
