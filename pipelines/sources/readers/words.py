"""Columns of lists to `tokens` and `labels`: one row a sentence, one label a word."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contract import InputError


def labelled_words(words: pa.ChunkedArray, tags: pa.ChunkedArray) -> pa.Table:
    """Return `tokens` and `labels`, both lists of strings; null where a row has none.

    Raises:
        InputError: A column holds no lists, or a sentence has more or fewer tags than words.
    """
    table = pa.table({"tokens": _lists(words, "text"), "labels": _lists(tags, "label")})
    num_words, num_tags = (pc.list_value_length(table[name]) for name in table.column_names)
    unequal = pc.indices_nonzero(pc.fill_null(pc.not_equal(num_words, num_tags), fill_value=False))
    if len(unequal):
        row = unequal[0].as_py()
        raise InputError(
            f"row {row + 1} has {num_words[row]} words, but {num_tags[row]} tags; "
            f"{len(unequal)} of {len(table)} rows are so",
            key="label",
        )
    return table


def _lists(column: pa.ChunkedArray, role: str) -> pa.ChunkedArray:
    try:
        return pc.cast(column, pa.list_(pa.string()))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"kind is token-classification, but a column holds {column.type}, not lists of words "
            "or tags",
            key=role,
        ) from error
