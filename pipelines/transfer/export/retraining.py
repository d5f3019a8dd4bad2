"""The stage `weights`: trains as the trial did and keeps the weights; nothing else is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pipelines.contract import Artifact, Context, Member, StageResult
from pipelines.transfer.export.agreement import agreement
from pipelines.transfer.finetuning import trainings
from pipelines.transfer.language_modeling import language_trainings


def retrain(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Return the trained weights as arrays, and how the predictions agree with those kept."""
    kept = inputs["predictions"].table("predictions")
    trained = language_trainings if "blocks" in inputs else trainings
    return [
        StageResult(
            value={
                "labels": result.value["labels"],
                "agreement": asdict(agreement(kept, result.tables["predictions"])),
            },
            arrays={name: w.numpy(force=True) for name, w in learner.trainable().items()},
        )
        for learner, result in trained(context, members, inputs, sources)
    ]
