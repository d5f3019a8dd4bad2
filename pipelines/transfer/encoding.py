"""The stage `encode`: one pass of the frozen model over a task, for all heads that share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from pipelines.contract import Artifact, Context, Member, StageResult
from pipelines.models.backbone import features_of, use_threads, warm_model
from pipelines.models.files import model_files
from pipelines.transfer.data.loading import SPLITS
from pipelines.transfer.data.prepared import PREPARED, Batches, batches_of
from pipelines.transfer.data.truth import truth_of

BATCH_SIZE = 64
"""Texts in one pass; they are sorted by length, so larger batches save nothing on a CPU."""


def encode(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Return for each split the features `(rows, width)`, the labels and the rows' numbers.

    Where words are labelled there are features of each word's first token only.
    """
    use_threads(context)
    backbone = warm_model(context, model_files(context, sources, inputs))
    prepared = inputs[PREPARED]
    results = []
    for member in members:
        arrays: dict[str, np.ndarray] = {}
        for split in SPLITS:
            batches = batches_of(prepared, split, context.device)
            arrays[f"{split}/features"] = pooled_features(backbone, batches, member["pooling"])
            arrays |= truth_of(prepared.table(split)).arrays(split)
        results.append(StageResult(value=dict(prepared.value), arrays=arrays))
    return results


@torch.inference_mode()
def pooled_features(backbone: nn.Module, batches: Batches, pooling: str) -> np.ndarray:
    """Return the pooled last layer of every text or word, `(rows, width)`, single precision."""
    features: np.ndarray | None = None
    for rows in batches.by_length(BATCH_SIZE):
        batch = batches.batch(rows)
        pooled = features_of(backbone, batch, pooling).float().cpu().numpy()
        if features is None:
            features = np.empty((batches.num_outputs, pooled.shape[1]), dtype=np.float32)
        features[batches.places(rows)] = pooled
    return features if features is not None else np.empty((0, 0), dtype=np.float32)
