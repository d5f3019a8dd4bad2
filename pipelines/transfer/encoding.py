"""The stage `encode`: one pass of the frozen model over a task, for all heads that share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from pipelines.contract import Artifact, Context, Member, StageResult
from pipelines.transfer.backbone import TokenBatches, pool, use_threads, warm_backbone
from pipelines.transfer.tokenization import SPLITS

BATCH_SIZE = 64
"""Texts in one pass; they are sorted by length, so larger batches save nothing on a CPU."""


def encode(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Return for each split the features `(rows, width)`, the labels and the rows' numbers."""
    use_threads(context)
    backbone = warm_backbone(context, sources["model"])
    tokens = inputs["tokens"]
    results = []
    for member in members:
        arrays: dict[str, np.ndarray] = {}
        for split in SPLITS:
            table = tokens.table(split)
            batches = TokenBatches(table, tokens.value["pad_id"], context.device)
            arrays[f"{split}/features"] = pooled_features(backbone, batches, member["pooling"])
            arrays[f"{split}/labels"] = table["label"].to_numpy()
            arrays[f"{split}/rows"] = table["row"].to_numpy()
        results.append(StageResult(value=dict(tokens.value), arrays=arrays))
    return results


@torch.inference_mode()
def pooled_features(backbone: nn.Module, batches: TokenBatches, pooling: str) -> np.ndarray:
    """Return the pooled last layer of every text, `(rows, width)` in single precision."""
    features: np.ndarray | None = None
    for rows in batches.by_length(BATCH_SIZE):
        batch = batches.batch(rows)
        hidden = backbone(**batch).last_hidden_state  # (batch, length, width)
        pooled = pool(hidden, batch["attention_mask"], pooling).float().cpu().numpy()
        if features is None:
            features = np.empty((len(batches), pooled.shape[1]), dtype=np.float32)
        features[rows] = pooled
    return features if features is not None else np.empty((0, 0), dtype=np.float32)
