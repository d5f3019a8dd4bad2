"""How far two results of one trial lie apart, and how far they may by their label; runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipelines.labels import Fidelity

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class Bound:
    """How far two results may lie apart: absolute below 1, relative above it."""

    scores: float
    """Of any score or loss of any row."""
    metrics: float
    """Of any metric."""


EXACT = Bound(scores=0.0, metrics=0.0)
"""Bitwise the same."""

EQUAL = Bound(scores=1e-3, metrics=1e-2)
"""For sums in another order, in single precision.

One rounding is 6e-8 (2**-24), and a training hands each step's differences on to the next. Probes
and partly frozen trials of all-MiniLM-L6-v2 were measured to differ by at most 2e-6, heads of a
tiny model over 200 epochs by at most 8e-5 at a learning rate of 0.1. The bound leaves a factor of
ten above that, and lies far below what a leak does: scores of another member are 0.1 and more away
after four epochs. A metric is a mean over rows or tokens; its 1e-2 are those of one row in a
hundred that flips in a pipeline that keeps no predictions."""

EQUAL_IN_BF16 = Bound(scores=5e-2, metrics=5e-2)
"""The same where training computes in bfloat16, one rounding of which is 4e-3 (2**-8)."""

BOUNDS: Mapping[Fidelity, Bound] = {Fidelity.EXACT: EXACT, Fidelity.EQUAL: EQUAL}
"""By label. `statistical` and `adaptive` have none: what they promise can be seen over many trials
only, not on one."""

OWN_DISTANCE = 10.0
"""By how many times the distance between a training and itself, moved by a few roundings, two
results may lie apart and be explained by it. How far one rounding carries is chance."""

SAME_METRICS = 1e-9
"""By how much metrics may differ that were computed from the same classes."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What is compared of a trial."""

    metrics: Mapping[str, float]
    """By `split/metric`."""
    predictions: pa.Table | None = None
    """One row an example, word or block; None where the pipeline keeps none."""


@dataclass(frozen=True, kw_only=True)
class Differences:
    """How far two results lie apart."""

    metrics: float
    """The largest difference of a metric."""
    scores: float | None = None
    """The largest difference of a score or loss of any row; None without predictions."""
    num_flipped: int = 0
    """Rows that are of another class."""
    faults: tuple[str, ...] = ()
    """Where the bound is broken, in words."""


@dataclass
class _Rows:
    """What comparing the rows has shown."""

    largest: float | None = None
    num_flipped: int = 0
    faults: list[str] = field(default_factory=list)
    metric_bounds: dict[str, float | None] = field(default_factory=dict)
    """By split; None where rows flipped, whose metrics follow from that."""


def bound_of(
    label: Fidelity, *, is_bf16: bool = False, has_accelerator: bool = False
) -> Bound | None:
    """Return how far a trial of a label may lie from the one run alone, or None for any distance.

    Args:
        label: The label.
        is_bf16: Whether the trial's training computes in bfloat16.
        has_accelerator: Whether it runs on an accelerator. Some operations there sum in no fixed
            order, so that a trial alone is not the same to the bit twice, but `equal` to itself.
    """
    if has_accelerator and label is Fidelity.EXACT:
        label = Fidelity.EQUAL
    return EQUAL_IN_BF16 if is_bf16 and label is Fidelity.EQUAL else BOUNDS.get(label)


def compare(kept: Result, alone: Result, bound: Bound | None) -> Differences:
    """Compare a trial's result with that of the same trial run alone.

    A class may flip where the two best scores of the row lie closer together than both may move.
    The metrics of a split with such a row have no bound: they follow from it.

    Args:
        kept: What the store has.
        alone: What the trial gave alone.
        bound: How far they may lie apart; None for any distance.
    """
    rows = _Rows()
    if kept.predictions is not None and alone.predictions is not None:
        rows = _compare_rows(kept.predictions, alone.predictions, bound)
    elif (kept.predictions is None) is not (alone.predictions is None):
        rows.faults.append("only one of the two has predictions")
    faults = list(rows.faults)
    largest = 0.0
    for name in sorted(kept.metrics.keys() | alone.metrics.keys()):
        difference = _apart(kept.metrics.get(name), alone.metrics.get(name))
        largest = max(largest, difference)
        if bound is None:
            continue
        allowed = rows.metric_bounds.get(name.partition("/")[0], bound.metrics)
        if allowed is not None and difference > min(allowed, bound.metrics):
            faults.append(f"{name} is {kept.metrics.get(name)}, alone {alone.metrics.get(name)}")
    return Differences(
        metrics=largest,
        scores=rows.largest,
        num_flipped=rows.num_flipped,
        faults=tuple(faults) if bound is not None else (),
    )


def is_unstable(kept: Result, alone: Result, moved: Result, bound: Bound) -> bool:
    """Return whether rounding alone explains that a result lies too far from that run alone.

    It does where the trial alone does not hold the bound against itself either, once it is moved
    by a few roundings, and lies about as far from that as from what was kept.

    Args:
        kept: What the store has.
        alone: What the trial gave alone.
        moved: What it gave alone, moved by a few roundings.
        bound: How far the first two may lie apart.
    """
    own = compare(moved, alone, bound)
    own_scores = own.scores or 0.0
    if not own.faults or not max(own_scores, own.metrics) < float("inf"):
        return False
    wider = Bound(
        scores=max(bound.scores, OWN_DISTANCE * own_scores),
        metrics=max(bound.metrics, OWN_DISTANCE * own.metrics),
    )
    return not compare(kept, alone, wider).faults


def _apart(one: float | None, other: float | None) -> float:
    if one is None or other is None:
        return float("inf")
    if one == other or (one != one and other != other):  # noqa: PLR0124 - both not a number
        return 0.0
    difference = abs(one - other) / max(1.0, abs(other))
    return difference if difference == difference else float("inf")  # noqa: PLR0124


def _compare_rows(kept: pa.Table, alone: pa.Table, bound: Bound | None) -> _Rows:
    if kept.schema.names != alone.schema.names or len(kept) != len(alone):
        fault = f"{len(kept)} predictions {kept.schema.names}, alone {len(alone)}"
        return _Rows(largest=float("inf"), faults=[fault])
    rows = _Rows()
    for name in kept.schema.names:
        is_given = name != "prediction" and not _is_real(kept.schema.field(name).type)
        if is_given and kept[name].to_pylist() != alone[name].to_pylist():
            rows.faults.append(f"column {name!r} of the predictions is another one")
    pairs = {
        name: (_matrix(kept[name]), _matrix(alone[name]))
        for name in kept.schema.names
        if _is_real(kept.schema.field(name).type)
    }
    for name, (ours, theirs) in pairs.items():
        largest = _largest(ours, theirs)
        rows.largest = max(largest, rows.largest or 0.0)
        if bound is not None and largest > bound.scores:
            rows.faults.append(f"{name} differ by {largest:.1e}, allowed are {bound.scores:g}")
    if "prediction" in kept.schema.names and "split" in kept.schema.names:
        _compare_predictions(rows, kept, alone, bound or EQUAL)
    return rows


def _compare_predictions(rows: _Rows, kept: pa.Table, alone: pa.Table, bound: Bound) -> None:
    """Count the rows that flipped, and say which splits' metrics are bounded how."""
    import numpy as np  # noqa: PLC0415 - numpy is not needed to plan

    splits = np.array(kept["split"].to_pylist())
    if _is_real(kept.schema.field("prediction").type):
        ours = _matrix(kept["prediction"])[:, 0]
        for split in np.unique(splits):
            part = ours[splits == split]
            # All but the same number everywhere: of an order among them nothing is known.
            if np.ptp(part) <= bound.scores * max(1.0, float(np.abs(part).max())):
                rows.metric_bounds[str(split)] = None
        return
    flipped = kept["prediction"].to_numpy() != alone["prediction"].to_numpy()
    for split in np.unique(splits):
        is_same = not flipped[splits == split].any()
        rows.metric_bounds[str(split)] = SAME_METRICS if is_same else None
    rows.num_flipped = int(flipped.sum())
    unexplained = rows.num_flipped
    if "scores" in kept.schema.names and kept["scores"].type.num_fields and unexplained:
        best = np.sort(_matrix(kept["scores"])[flipped], axis=1)[:, -2:]
        near = 2 * bound.scores * np.maximum(1.0, np.abs(best).max(axis=1))
        unexplained = int((~(best[:, -1] - best[:, 0] <= near)).sum())
    if unexplained:
        rows.faults.append(f"{unexplained} rows are of another class, and not for a near tie")


def _is_real(kind: pa.DataType) -> bool:
    import pyarrow as pa  # noqa: PLC0415 - the leaderboard alone needs no Arrow

    is_list = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind)
    return bool(pa.types.is_floating(kind.value_type if is_list else kind))


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of numbers, or of lists of one length, `(rows, width)`; null is NaN."""
    import numpy as np  # noqa: PLC0415

    values = column.combine_chunks()
    if not values.type.num_fields:
        flat: np.ndarray = values.to_numpy(zero_copy_only=False).astype(np.float64)
        return flat[:, None]
    valid = values.is_valid().to_numpy(zero_copy_only=False)
    given = values.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    width = len(given) // max(1, int(valid.sum()))
    matrix = np.full((len(values), width), np.nan)
    matrix[valid] = given.reshape(-1, width)
    return matrix


def _largest(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest difference; infinite where one is no number and the other is."""
    import numpy as np  # noqa: PLC0415

    if ours.shape != theirs.shape or (np.isnan(ours) != np.isnan(theirs)).any():
        return float("inf")
    with np.errstate(invalid="ignore"):
        apart = np.abs(ours - theirs) / np.maximum(1.0, np.abs(theirs))
    apart[(ours == theirs) | np.isnan(ours)] = 0.0
    return float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0))
