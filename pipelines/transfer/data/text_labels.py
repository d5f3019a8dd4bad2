"""What `load` must know of tasks with one label a text: columns, classes, what training lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contract import InputError, Json
from pipelines.transfer.data.splitting import content_hashes, plain


def usable(table: pa.Table) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Return which rows have all their texts, and which have a label."""
    texts = [name for name in ("text", "text_pair") if name in table.schema.names]
    has_text = pa.chunked_array([pa.array([True] * len(table), pa.bool_())])
    for name in texts:
        there = pc.not_equal(pc.utf8_trim_whitespace(table[name]), "")
        has_text = pc.and_(has_text, pc.fill_null(there, fill_value=False))
    return has_text, pc.is_valid(table["label"])


def hashes(table: pa.Table) -> np.ndarray:
    """Return a hash of each row's texts, `(rows,)`."""
    return content_hashes(*_texts(table))


def alike(table: pa.Table, hashes: np.ndarray) -> np.ndarray:
    """Return a hash of each row's texts, `(rows,)`, the same whatever their case and blanks."""
    del hashes
    texts, pairs = _texts(table)
    return content_hashes(plain(texts), None if pairs is None else plain(pairs))


def classes(table: pa.Table) -> list[str] | None:
    """Return the sorted names of classes; None for real numbers.

    Raises:
        InputError: All rows have the same label.
    """
    labels = table["label"].unique().to_pylist()
    if len(labels) < 2:
        raise InputError(
            f"all {len(table)} rows have the same label, {labels[0]!r}; there is nothing to learn",
            key="label",
        )
    return None if pa.types.is_floating(table["label"].type) else sorted(labels)


def numbered(table: pa.Table, classes: list[str] | None) -> pa.Table:
    """Return the table with numbers of classes, int32, in place of names."""
    if classes is None:
        return table
    index = pc.index_in(table["label"], value_set=pa.array(classes, pa.string()))
    return table.set_column(table.schema.names.index("label"), "label", index)


def strata(table: pa.Table, classes: list[str] | None) -> np.ndarray:
    """Return the class of every row, `(rows,)`; zeros for real numbers."""
    return np.zeros(len(table)) if classes is None else table["label"].to_numpy()


def described(
    tables: Mapping[str, pa.Table], classes: list[str] | None, pool: pa.Table
) -> dict[str, Json]:
    """Return what the value of `load` says of the labels by split.

    Args:
        tables: The rows of each split.
        classes: As of :func:`classes`.
        pool: All rows that training may have, in their order.

    Raises:
        InputError: Training has no row of a class that validation or test has.
    """
    columns = {split: table["label"] for split, table in tables.items()}
    if classes is None:
        ranges = {split: pc.min_max(column).as_py() for split, column in columns.items()}
        return {"label_range": {split: [r["min"], r["max"]] for split, r in ranges.items()}}
    _check_trained(tables, classes, pool)
    counts = {split: Counter(column.to_pylist()) for split, column in columns.items()}
    return {
        "label_counts": {
            split: {name: count[index] for index, name in enumerate(classes)}
            for split, count in counts.items()
        }
    }


def _texts(table: pa.Table) -> tuple[list[str], list[str] | None]:
    is_pair = "text_pair" in table.schema.names
    return table["text"].to_pylist(), table["text_pair"].to_pylist() if is_pair else None


def _check_trained(tables: Mapping[str, pa.Table], classes: list[str], pool: pa.Table) -> None:
    labels = {split: np.unique(table["label"].to_numpy()) for split, table in tables.items()}
    missing = np.setdiff1d(np.concatenate([labels["validation"], labels["test"]]), labels["train"])
    if not len(missing):
        return
    names = ", ".join(repr(classes[index]) for index in missing)
    order = pool["label"].to_numpy()
    if not np.isin(missing, order).all():
        raise InputError(
            f"validation or test has rows of {names}, training has none at any size; "
            "leave these classes out, or let `splits` name other files",
            key="label",
        )
    least = max(int(np.argmax(order == index)) for index in missing) + 1
    raise InputError(
        f"the {len(tables['train'])} training rows have none of {names}, which validation or "
        f"test have; the smallest train_size that works is {least}",
        key="train_size",
        nearest=str(least),
    )
