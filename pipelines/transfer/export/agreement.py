"""How two sets of predictions of the same rows compare; knows no model."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.exports import TOLERANCE, Agreement


def agreement(kept: pa.Table, again: pa.Table) -> Agreement:
    """Compare two tables of predictions of the same rows, score by score."""
    return compare(_scores(kept), _scores(again))


def comparable(predictions: pa.Table) -> np.ndarray:
    """Return `(rows, classes)` probabilities, or `(rows, 1)` numbers in the task's own unit.

    Of blocks of text the number is the mean loss, in nats a token.
    """
    if "nll" in predictions.column_names:
        return _scores(predictions)
    if pa.types.is_floating(predictions["prediction"].type):
        return np.array(predictions["prediction"].to_pylist())[:, None]
    scores = _scores(predictions)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def compare(kept: np.ndarray, again: np.ndarray, *, unit: float = 1.0) -> Agreement:
    """Compare scores `(rows, outputs)`; one output is a number, several are classes."""
    differences = np.abs(kept - again).max(axis=1) / unit
    is_number = kept.shape[1] == 1
    same = differences <= TOLERANCE if is_number else kept.argmax(axis=1) == again.argmax(axis=1)
    return _agreement(same, differences)


def compare_best(kept: np.ndarray, classes: np.ndarray, scores: np.ndarray) -> Agreement:
    """Compare probabilities with a class each, and its probability, which is all that is known.

    Args:
        kept: `(rows, classes)`.
        classes: Numbers of the classes given, `(rows,)`.
        scores: Their probabilities, `(rows,)`.
    """
    differences = np.abs(kept[np.arange(len(kept)), classes] - scores)
    return _agreement(kept.argmax(axis=1) == classes, differences)


def _agreement(same: np.ndarray, differences: np.ndarray) -> Agreement:
    return Agreement(
        num_rows=len(same),
        num_same=int(same.sum()),
        max_difference=float(differences.max(initial=0.0)),
    )


def _scores(predictions: pa.Table) -> np.ndarray:
    """Return `(rows, outputs)`; of blocks of text the mean loss, in nats a token.

    Words that have no token have no score, and stay out.
    """
    if "nll" in predictions.column_names:
        return np.asarray(pc.divide(predictions["nll"], predictions["num_tokens"]))[:, None]
    column = predictions["scores"]
    return np.array(column.filter(pc.is_valid(column)).to_pylist(), dtype=np.float64)
