"""What `load` must know of tasks without labels, whose texts are what is to be predicted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contract import Json
from pipelines.transfer.data import text_labels


def usable(table: pa.Table) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Return which rows have a text; of labels none lacks."""
    there = pc.not_equal(pc.utf8_trim_whitespace(table["text"]), "")
    all_rows = pa.chunked_array([np.ones(len(table), dtype=bool)], pa.bool_())
    return pc.fill_null(there, fill_value=False), all_rows


hashes = text_labels.hashes
alike = text_labels.alike


def classes(table: pa.Table) -> list[str] | None:
    """Return None: there are no classes."""
    del table
    return None


def numbered(table: pa.Table, classes: list[str] | None) -> pa.Table:
    """Return the table as it is."""
    del classes
    return table


def strata(table: pa.Table, classes: list[str] | None) -> np.ndarray:
    """Return zeros, `(rows,)`: a text is of no class."""
    del classes
    return np.zeros(len(table))


def described(
    tables: Mapping[str, pa.Table], classes: list[str] | None, pool: pa.Table
) -> dict[str, Json]:
    """Return the number of characters by split, `num_characters`; nothing here is a fault."""
    del classes, pool
    return {
        "num_characters": {
            split: pc.sum(pc.utf8_length(table["text"]), min_count=0).as_py()
            for split, table in tables.items()
        }
    }
