"""The stage `weights`: trains as `finetune` did and keeps the weights; nothing else is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.contract import Artifact, Context, Member, StageResult
from pipelines.exports import TOLERANCE, Agreement
from pipelines.transfer.finetuning import trainings


def retrain(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Return the trained weights as arrays, and how the predictions agree with those kept."""
    kept = inputs["predictions"].table("predictions")
    return [
        StageResult(
            value={
                "labels": result.value["labels"],
                "agreement": asdict(agreement(kept, result.tables["predictions"])),
            },
            arrays={name: w.numpy(force=True) for name, w in learner.trainable().items()},
        )
        for learner, result in trainings(context, members, inputs, sources)
    ]


def agreement(kept: pa.Table, again: pa.Table) -> Agreement:
    """Compare two tables of predictions of the same rows, score by score."""
    return compare(_scores(kept), _scores(again))


def comparable(predictions: pa.Table) -> np.ndarray:
    """Return `(rows, classes)` probabilities, or `(rows, 1)` numbers in the task's own unit."""
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
    return Agreement(
        num_rows=len(kept),
        num_same=int(same.sum()),
        max_difference=float(differences.max(initial=0.0)),
    )


def _scores(predictions: pa.Table) -> np.ndarray:
    return np.array(predictions["scores"].to_pylist(), dtype=np.float64)
