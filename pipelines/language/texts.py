"""The texts of a corpus, a part of them held out; and those of any task's tables."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipelines.contract import Artifact, Context, InputError, Member, StageResult
from pipelines.sources import Task, read

VALIDATION_FRACTION = 0.05
"""Of the texts of a corpus without a validation split, where no size is asked for."""
MAX_DEFAULT_VALIDATION = 500
"""Texts; the loss of language modelling is sharp enough by then."""


def read_corpus(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Read the corpus `sources["corpus"]` and hold out texts for validation.

    The params of a member are `train_size`, by default all texts, and `validation_size`, by
    default a twentieth and at most 500. Which texts are held out is decided by their content
    alone, as in tasks. Repeated and empty texts are left out. An official validation split is
    kept; a test split is not read.

    Returns:
        One result a member. Tables `train` and `validation` with `text`; the value holds
        `num_rows` by split and `datasets`.

    Raises:
        InputError: The corpus cannot be read, or has too few texts.
    """
    corpus: Task = sources["corpus"]
    texts = {split: _distinct(texts_of(table)) for split, table in read(corpus).items()}
    return [_held_out(corpus, texts, member) for member in members]


def texts_of(table: pa.Table) -> list[str]:
    """Return all texts of a table of examples, whatever the kind of its task.

    Args:
        table: With `text`, also `text_pair`, or with `tokens`, the words of sentences; nulls
            are left out.
    """
    names = set(table.column_names)
    if "tokens" in names:
        return [" ".join(word for word in row if word) for row in table["tokens"].to_pylist()]
    columns = [table[name].to_pylist() for name in ("text", "text_pair") if name in names]
    return [text for row in zip(*columns, strict=True) for text in row if text]


def _distinct(texts: Sequence[str]) -> list[str]:
    """Return the texts in the order of their hashes, each once: random to the eye, but fixed."""
    there = {text for text in texts if text.strip()}
    return sorted(there, key=lambda text: hashlib.blake2b(text.encode(), digest_size=8).digest())


def _held_out(corpus: Task, texts: Mapping[str, list[str]], member: Member) -> StageResult:
    size = member.get("validation_size")
    train = [text for split in ("train", "all") for text in texts.get(split, [])]
    validation = texts.get("validation")
    if validation is None:
        default = min(MAX_DEFAULT_VALIDATION, max(1, round(VALIDATION_FRACTION * len(train))))
        count = default if size is None else size
        if count >= len(train):
            raise InputError(
                f"corpus {corpus.name!r} has {len(train)} different texts, of which {count} are "
                "for validation: none is left to learn from; blank lines separate the texts of a "
                ".txt file, or line ends where there are no blank lines",
                key="validation_size" if size is not None else "source",
            )
        train, validation = train[:-count], train[-count:]
    held_out = set(validation)
    kept = {
        "train": [text for text in train if text not in held_out][: member.get("train_size")],
        "validation": validation[:size],
    }
    num_rows = {split: len(part) for split, part in kept.items()}
    datasets = [
        {
            "name": corpus.name,
            "digest": corpus.digest,
            "split": split,
            "num_rows": num_rows[split],
            "source": str(corpus.source),
        }
        for split in kept
    ]
    tables = {split: pa.table({"text": pa.array(part)}) for split, part in kept.items()}
    return StageResult(value={"num_rows": num_rows, "datasets": datasets}, tables=tables)
