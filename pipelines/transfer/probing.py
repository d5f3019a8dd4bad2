"""The method `probe`: a linear head on the features of the frozen model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pipelines.contract import Artifact, Context, Member, StageResult
from pipelines.models.backbone import use_threads
from pipelines.training.loop import Learner, predict, train
from pipelines.transfer.data.loading import SPLITS
from pipelines.transfer.data.truth import kept_truth
from pipelines.transfer.examples import (
    FeatureExamples,
    LabelScale,
    new_head,
    num_outputs,
    score_tables,
)


def probe(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Train a linear head on frozen features."""
    use_threads(context)
    source = inputs["features"]
    truth = {split: kept_truth(source, split) for split in SPLITS}
    labels = source.value["labels"]
    scale = LabelScale(truth["train"].labels, is_regression=labels is None)
    sets = {
        split: FeatureExamples(
            torch.tensor(source.array(f"{split}/features"), device=context.device),
            scale.to_targets(part.targets, context.device),
            part.spans(),
        )
        for split, part in truth.items()
    }
    results = []
    for member in members:
        width = sets["train"].features.shape[1]
        head = new_head(width, num_outputs(labels), member["seed"]).to(context.device)
        learner = Learner(forward=head, module=head, groups=[{"params": list(head.parameters())}])
        curve = train(learner, sets["train"], sets["validation"], member)
        outputs = {split: predict(learner, sets[split]) for split in SPLITS}
        results.append(
            StageResult(
                value={"labels": labels, "curve": curve},
                tables=score_tables(outputs, truth, scale, context.keep),
                arrays={
                    name: weight.numpy(force=True) for name, weight in head.state_dict().items()
                },
            )
        )
    return results
