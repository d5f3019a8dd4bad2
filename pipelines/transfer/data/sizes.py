"""Which of the rows that each split may use the sizes of a member take; knows no columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.contract import InputError
from pipelines.schema import per_class
from pipelines.transfer.data.splitting import (
    TEST_FRACTION,
    VALIDATION_FRACTION,
    Pools,
    first_of_each,
)

Size = int | float | str | None
"""A number of rows, a fraction of those there are, `N per class`, or None for the default."""


@dataclass(frozen=True, kw_only=True)
class Strata:
    """The class of every row of a task, where rows have one."""

    rows: np.ndarray
    """The number of the class, shape (rows,)."""
    names: Sequence[str] | None
    """The names of the classes; None where a row has none."""


def chosen_rows(pools: Pools, strata: Strata, sizes: Mapping[str, Size]) -> dict[str, np.ndarray]:
    """Return the rows of each split, as indices in the order of its pool.

    A fraction is of the rows that there are for a split: those held out for test; for a
    validation without an official split those of training; for training what is left of them.

    Raises:
        InputError: There are fewer rows than are asked for; `nearest` is what there is.
    """
    test = _taken(pools.test, "test", sizes["test"], _held_out(pools))
    if pools.validation is not None:
        validation = _taken(pools.validation, "validation", sizes["validation"], "")
        train = pools.train
    else:
        default = VALIDATION_FRACTION if sizes["validation"] is None else sizes["validation"]
        rest = pools.train[::-1][:-1]  # one row is left for training
        size = _count(default, len(pools.train))
        validation = _taken(rest, "validation", size, "; they are taken out of training")
        train = pools.train[: len(pools.train) - len(validation)]
    after = f" beside {len(validation)} for validation and {len(pools.test)} kept for test"
    number = per_class(sizes["train"])
    return {
        "train": _taken(train, "train", sizes["train"], after)
        if number is None
        else _taken_of_each(train, strata, number, after),
        "validation": validation,
        "test": test,
    }


def _held_out(pools: Pools) -> str:
    whole = len(pools.train) + len(pools.test)
    return f", as without an official test split {TEST_FRACTION:.0%} of {whole} rows are held out"


def _count(size: Size, num_rows: int) -> Size:
    """Return a fraction as a number of rows, the nearest and at least 1."""
    return max(1, round(size * num_rows)) if isinstance(size, float) else size


def _taken(pool: np.ndarray, split: str, size: Size, why: str) -> np.ndarray:
    if not len(pool):
        raise InputError(f"no row is left for {split}{why}", key=f"{split}_size")
    count = _count(size, len(pool))
    if isinstance(count, str):
        raise InputError(f"{split}_size cannot be {size!r}", key=f"{split}_size")
    if count is not None and count > len(pool):
        raise InputError(
            f"{split}_size is {size}, but there are {len(pool)} rows for {split}{why}",
            key=f"{split}_size",
            nearest=str(len(pool)),
        )
    return pool[:count]


def _taken_of_each(pool: np.ndarray, strata: Strata, number: int, why: str) -> np.ndarray:
    if strata.names is None:
        raise InputError(
            f"train_size is '{number} per class', but a row of this task has no class",
            key="train_size",
            nearest=str(number),
        )
    classes, counts = np.unique(strata.rows[pool], return_counts=True)
    if counts.min() < number:
        rarest = strata.names[int(classes[counts.argmin()])]
        raise InputError(
            f"train_size is '{number} per class', but {rarest!r} has {counts.min()} rows for "
            f"train{why}",
            key="train_size",
            nearest=f"{counts.min()} per class",
        )
    return first_of_each(pool, strata.rows, number)
