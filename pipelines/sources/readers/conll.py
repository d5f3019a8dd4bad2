"""Files with one word a line and a blank line after each sentence: CoNLL columns, and CoNLL-U."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from pipelines.contract import InputError
from pipelines.sources.readers import Request
from pipelines.sources.readers.columns import read_files, require_columns

CONLLU_COLUMNS = (
    "id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc",
)  # fmt: skip
"""The columns of the format, as the guidelines of Universal Dependencies name them."""

Sentence = list[tuple[int, str]]
"""The lines of a sentence, each with its number in the file."""


def read_conll(request: Request) -> dict[str, pa.Table]:
    """Read columns without a header, separated by tabs or, in lines without a tab, by spaces.

    The columns of words and tags are named by their numbers: from the left from 1, from the
    right from -1. Lines that begin with `-DOCSTART-` are no words.

    Raises:
        InputError: A name is no number, or a line has no such column.
    """
    return read_files(request, _read_columns)


def read_conllu(request: Request) -> dict[str, pa.Table]:
    """Read the syntactic words of CoNLL-U, which alone have tags.

    By the guidelines of Universal Dependencies the line of a multi-word token (ID `3-4`) repeats
    what the words on its next lines say, and an empty node (ID `8.1`) stands for no word of the
    text: both are left out. A tag `_` is none.

    Raises:
        InputError: There is no column of this name, or a line does not have ten.
    """
    return read_files(request, _read_conllu)


def _read_columns(path: Path, request: Request) -> pa.Table:
    places = {role: _place(request.options[role], role) for role in ("text", "label")}
    columns: dict[str, list[list[str]]] = {role: [] for role in places}
    for sentence in _sentences(path):
        words = [(n, _cells(line)) for n, line in sentence if not line.startswith("-DOCSTART-")]
        if words:
            for role, place in places.items():
                columns[role].append([_cell(cells, place, n, path) for n, cells in words])
    return _table(columns["text"], columns["label"], request)


def _read_conllu(path: Path, request: Request) -> pa.Table:
    require_columns(CONLLU_COLUMNS, request.options, path.name)
    word, tag = (CONLLU_COLUMNS.index(request.options[role]) for role in ("text", "label"))
    words, tags = [], []
    for sentence in _sentences(path):
        lines = [(n, line.split("\t")) for n, line in sentence if not line.startswith("#")]
        for number, cells in lines:
            if len(cells) != len(CONLLU_COLUMNS):
                raise InputError(
                    f"line {number} of {path.name} has {len(cells)} columns, where CoNLL-U has "
                    f"{len(CONLLU_COLUMNS)} with a tab between them",
                    key="source",
                )
        syntactic = [cells for _, cells in lines if cells[0].isdecimal()]
        if syntactic:
            words.append([cells[word] for cells in syntactic])
            tags.append([None if cells[tag] == "_" else cells[tag] for cells in syntactic])
    return _table(words, tags, request)


def _sentences(path: Path) -> Iterator[Sentence]:
    with pa.input_stream(str(path), compression="detect") as stream:
        text = stream.read().decode("utf-8-sig")
    # Not `splitlines`: words of the web hold characters that it takes for ends of lines.
    sentence: Sentence = []
    for number, line in enumerate(re.split(r"\r?\n", text), start=1):
        if line.strip(" \t"):
            sentence.append((number, line))
        elif sentence:
            yield sentence
            sentence = []
    if sentence:
        yield sentence


def _cells(line: str) -> list[str]:
    return line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))


def _place(name: str, role: str) -> int:
    if not re.fullmatch(r"-?[1-9][0-9]*", name):
        raise InputError(
            f"{name!r} is no column of a CoNLL file, whose columns have no names but numbers: "
            "1 is the first, -1 the last",
            key=role,
        )
    return int(name)


def _cell(cells: Sequence[str], place: int, number: int, path: Path) -> str:
    if abs(place) > len(cells):
        raise InputError(
            f"line {number} of {path.name} has {len(cells)} columns and no column {place}",
            key="source",
        )
    return cells[place - 1 if place > 0 else place].strip(" ")


def _table(
    words: Sequence[Sequence[str]], tags: Sequence[Sequence[str | None]], request: Request
) -> pa.Table:
    strings = pa.list_(pa.string())
    return pa.table(
        {
            request.options["text"]: pa.array(words, strings),
            request.options["label"]: pa.array(tags, strings),
        }
    )
