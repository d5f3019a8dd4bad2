"""What `load` must know of tasks with one label a word: lists, tags, what training lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contract import InputError, Json
from pipelines.sources.tags import marks_entities
from pipelines.transfer.data.splitting import content_hashes, plain
from pipelines.transfer.entities import num_malformed


def usable(table: pa.Table) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Return which sentences have words, and which have a tag for every word."""
    words, tags = table["tokens"].to_pylist(), table["labels"].to_pylist()
    has_words = [bool(row) and any(word and word.strip() for word in row) for row in words]
    has_tags = [bool(row) and all(tag is not None for tag in row) for row in tags]
    return pa.chunked_array([has_words], pa.bool_()), pa.chunked_array([has_tags], pa.bool_())


def hashes(table: pa.Table) -> np.ndarray:
    """Return a hash of each sentence's words, `(sentences,)`."""
    return content_hashes(_sentences(table), None)


def alike(table: pa.Table, hashes: np.ndarray) -> np.ndarray:
    """Return a hash of each sentence's words, `(sentences,)`, the same whatever their case."""
    del hashes
    return content_hashes(plain(_sentences(table)), None)


def _sentences(table: pa.Table) -> list[str]:
    return ["\x1f".join(word or "" for word in row) for row in table["tokens"].to_pylist()]


def classes(table: pa.Table) -> list[str] | None:
    """Return the sorted names of tags.

    Raises:
        InputError: All words have the same tag.
    """
    tags = pc.list_flatten(table["labels"])
    names = sorted(tags.unique().to_pylist())
    if len(names) < 2:
        raise InputError(
            f"all {len(tags)} words have the same tag, {names[0]!r}; there is nothing to learn",
            key="label",
        )
    return names


def numbered(table: pa.Table, classes: list[str] | None) -> pa.Table:
    """Return the table with lists of numbers of tags, int32, in place of names."""
    lists = table["labels"].combine_chunks()
    index = pc.index_in(lists.flatten(), value_set=pa.array(classes, pa.string()))
    offsets = np.concatenate([[0], np.cumsum(pc.list_value_length(lists).to_numpy())])
    numbers = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), index)
    return table.set_column(table.schema.names.index("labels"), "labels", numbers)


def strata(table: pa.Table, classes: list[str] | None) -> np.ndarray:
    """Return zeros, `(sentences,)`: a sentence is of no class."""
    del classes
    return np.zeros(len(table))


def described(
    tables: Mapping[str, pa.Table], classes: list[str] | None, pool: pa.Table
) -> dict[str, Json]:
    """Return what the value of `load` says of the tags by split; nothing here is a fault.

    `label_counts` and `num_words` count words. `untrained` counts, by tag, the words of
    validation and test whose tag no training word has: rare tags are usual, and their words
    are wrong whatever is predicted. `malformed` counts tags of BIO that continue an entity
    which did not begin; they are scored as the beginning of one.
    """
    del pool
    names = classes or []
    counts = {
        split: Counter(pc.list_flatten(table["labels"]).to_pylist())
        for split, table in tables.items()
    }
    value: dict[str, Json] = {
        "label_counts": {
            split: {name: count[index] for index, name in enumerate(names)}
            for split, count in counts.items()
        },
        "num_words": {split: count.total() for split, count in counts.items()},
        "untrained": {
            split: {names[i]: n for i, n in sorted(counts[split].items()) if not counts["train"][i]}
            for split in ("validation", "test")
        },
    }
    if marks_entities(names):
        value["malformed"] = {
            split: sum(
                num_malformed([names[index] for index in row])
                for row in table["labels"].to_pylist()
            )
            for split, table in tables.items()
        }
    return value
