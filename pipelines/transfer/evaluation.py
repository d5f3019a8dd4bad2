"""The stage `evaluate`: predictions to metrics, so that a new metric trains nothing again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contract import Artifact, Context, InputError, Member, StageResult
from pipelines.transfer.metrics import (
    compute_language_metrics,
    compute_metrics,
    compute_word_metrics,
)


def evaluate(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Return `metrics` by `split/metric`.

    Raises:
        InputError: The task has no class of the name given as `positive`.
    """
    return [StageResult(value={"metrics": _metrics(inputs, member)}) for member in members]


def _metrics(inputs: Mapping[str, Artifact], member: Member) -> dict[str, float]:
    predictions = inputs["predictions"].table("predictions")
    if "nll" in predictions.column_names:
        return _language_metrics(predictions)
    labels = inputs["predictions"].value["labels"]
    metrics: dict[str, float] = {}
    for split in ("validation", "test"):
        part = predictions.filter(pc.equal(predictions["split"], split))
        columns = part["label"].to_numpy(), part["prediction"].to_numpy()
        if "position" in part.column_names:
            values = compute_word_metrics(*columns, part["row"].to_numpy(), labels)
        else:
            values = compute_metrics(
                *columns,
                num_classes=None if labels is None else len(labels),
                positive=positive_class(member.get("positive"), labels),
            )
        metrics |= {f"{split}/{name}": value for name, value in values.items()}
    return metrics


def _language_metrics(predictions: pa.Table) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for split in ("validation", "test"):
        part = predictions.filter(pc.equal(predictions["split"], split))
        values = compute_language_metrics(part["nll"].to_numpy(), part["num_tokens"].to_numpy())
        metrics |= {f"{split}/{name}": value for name, value in values.items()}
    return metrics


def positive_class(name: str | None, labels: Sequence[str] | None) -> int:
    """Return the number of the class that `f1` looks at; without a name the second."""
    if name is None:
        return 1
    if labels is None or name not in labels:
        there_are = ", ".join(labels) if labels else "numbers, no classes"
        raise InputError(f"there is no class {name!r}; there are {there_are}", key="positive")
    return list(labels).index(name)
