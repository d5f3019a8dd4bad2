"""The stage `evaluate`: predictions to metrics, so that a new metric trains nothing again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.compute as pc

from pipelines.contract import Artifact, Context, Member, StageResult
from pipelines.transfer.metrics import compute_metrics, compute_word_metrics


def evaluate(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Return `metrics` by `split/metric`."""
    predictions = inputs["predictions"].table("predictions")
    labels = inputs["predictions"].value["labels"]
    metrics: dict[str, float] = {}
    for split in ("validation", "test"):
        part = predictions.filter(pc.equal(predictions["split"], split))
        columns = part["label"].to_numpy(), part["prediction"].to_numpy()
        if "position" in part.column_names:
            values = compute_word_metrics(*columns, part["row"].to_numpy(), labels)
        else:
            values = compute_metrics(*columns, num_classes=None if labels is None else len(labels))
        metrics |= {f"{split}/{name}": value for name, value in values.items()}
    return [StageResult(value={"metrics": metrics}) for _ in members]
