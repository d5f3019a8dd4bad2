"""Which rows are for training, validation and test; decided by the rows' content alone.

All rows that may serve for training stand in one fixed order. Training takes from its front, a
held-out test from its end, a held-out validation from just before the test. So a smaller
training set is the start of a larger one, and neither validation nor test knows its size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

TEST_FRACTION = 0.2
"""Of the rows of a source without an official test split."""
VALIDATION_FRACTION = 0.1
"""Of the rows left for training, where no `validation_size` is asked for."""


def content_hashes(texts: Sequence[str], pairs: Sequence[str] | None) -> np.ndarray:
    """Return a hash of each row's texts: unsigned 64-bit integers, shape (rows,)."""
    joined = texts if pairs is None else map("\x00".join, zip(texts, pairs, strict=True))
    digests = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in joined]
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


def plain(texts: Sequence[str]) -> list[str]:
    """Return texts without case and surplus blanks: what is left is the same to most models."""
    return [" ".join(text.split()).casefold() for text in texts]


def first_occurrences(hashes: np.ndarray) -> np.ndarray:
    """Return which rows are the first with their content: booleans, shape (rows,)."""
    first = np.zeros(len(hashes), dtype=bool)
    first[np.unique(hashes, return_index=True)[1]] = True
    return first


def stratified_order(strata: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Return the fixed order of rows, as indices, shape (rows,).

    One row of every stratum comes first, so that the smallest training set has all classes.
    After that every stretch of the order holds the strata in proportion, to within one row of
    each. Within a stratum the order is that of the hashes: random to the eye, yet the same
    whatever the order of the rows in the file.

    Args:
        strata: The class of each row as an integer, shape (rows,); zeros for regression.
        hashes: As of :func:`content_hashes`, shape (rows,).
    """
    if not len(strata):
        return np.zeros(0, dtype=np.int64)
    grouped = np.lexsort((hashes, strata))
    _, starts, counts = np.unique(strata[grouped], return_index=True, return_counts=True)
    rank = np.arange(len(strata)) - np.repeat(starts, counts)
    place = np.where(rank == 0, -1.0, (rank + 0.5) / np.repeat(counts, counts))
    order: np.ndarray = grouped[np.lexsort((hashes[grouped], place))]
    return order


def first_of_each(order: np.ndarray, strata: np.ndarray, number: int) -> np.ndarray:
    """Return the first rows of every stratum, as they stand in an order of rows.

    Args:
        order: Row indices, shape (ordered rows,).
        strata: The class of each row as an integer, shape (rows,).
        number: How many of each; of a stratum that has fewer, all.
    """
    taken = strata[order]
    grouped = np.argsort(taken, kind="stable")
    _, starts, counts = np.unique(taken[grouped], return_index=True, return_counts=True)
    rank = np.empty(len(order), dtype=np.int64)
    rank[grouped] = np.arange(len(order)) - np.repeat(starts, counts)
    return order[rank < number]


@dataclass(frozen=True, kw_only=True)
class Pools:
    """The rows that each split may use, in order; each split takes from the front of its own."""

    train: np.ndarray
    """Row indices, those held out for test already left out."""
    validation: np.ndarray | None
    """Row indices of the official split; None where validation is the end of `train`."""
    test: np.ndarray
    """Row indices."""


def make_pools(splits: np.ndarray, strata: np.ndarray, hashes: np.ndarray) -> Pools:
    """Sort rows into pools; the official splits of the source are kept.

    Args:
        splits: The split of each row by the source (`train`, `validation`, `test`, `all`).
        strata: As of :func:`stratified_order`.
        hashes: As of :func:`content_hashes`.
    """

    def ordered(*names: str) -> np.ndarray:
        rows: np.ndarray = np.flatnonzero(np.isin(splits, names))
        return np.take(rows, stratified_order(strata[rows], hashes[rows]))

    train = ordered("train", "all")
    test = ordered("test")[::-1]
    if "test" not in splits:
        num_test = int(np.ceil(TEST_FRACTION * len(train)))
        train, test = np.split(train, [len(train) - num_test])
        test = test[::-1]
    validation = ordered("validation")[::-1] if "validation" in splits else None
    return Pools(train=train, validation=validation, test=test)
