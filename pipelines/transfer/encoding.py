"""The stage `encode`: one pass of the frozen model over a task, for all heads that share it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from pipelines.cohorts import CohortMember, Finished
from pipelines.contract import Artifact, Context, Member, StageResult
from pipelines.models.backbone import features_of, last_hidden, pooled, set_up_torch, warm_model
from pipelines.models.distinct_rows import distinct_batches
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
    set_up_torch(context)
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


def encode_together(context: Context, members: Sequence[CohortMember]) -> Iterator[Finished]:
    """Encode a task once for members that differ in their rows and their pooling.

    A text or image that several members or splits have goes through the model once; all
    poolings are taken of the same pass.
    """
    set_up_torch(context)
    first = members[0]
    backbone = warm_model(context, model_files(context, first.sources, first.inputs))
    poolings = sorted({member.params["pooling"] for member in members})
    prepared = {id(member.inputs[PREPARED]): member.inputs[PREPARED] for member in members}
    batches = {
        (key, split): batches_of(artifact, split, context.device)
        for key, artifact in prepared.items()
        for split in SPLITS
    }
    features = _of_distinct_rows(backbone, list(batches.values()), poolings)
    yield {}
    for index, member in enumerate(members):
        own = member.inputs[PREPARED]
        arrays: dict[str, np.ndarray] = {}
        for split in SPLITS:
            keys = batches[id(own), split].keys()
            pooling = poolings.index(member.params["pooling"])
            arrays[f"{split}/features"] = np.concatenate([features[key][pooling] for key in keys])
            arrays |= truth_of(own.table(split)).arrays(split)
        yield {index: StageResult(value=dict(own.value), arrays=arrays)}


@torch.inference_mode()
def _of_distinct_rows(
    backbone: nn.Module, batches: Sequence[Batches], poolings: Sequence[str]
) -> dict[bytes, list[np.ndarray]]:
    """Return by row what each pooling gives, `(outputs, width)`; each row is run once."""
    features: dict[bytes, list[np.ndarray]] = {}
    for part, rows, keys in distinct_batches(batches, BATCH_SIZE):
        batch = part.batch(rows)
        hidden = last_hidden(backbone, batch)
        ends = np.cumsum([len(part.places(rows[i : i + 1])) for i in range(len(rows))])[:-1]
        pools = [
            np.split(pooled(hidden, batch, pooling).float().cpu().numpy(), ends)
            for pooling in poolings
        ]
        features |= {key: [parts[place] for parts in pools] for place, key in enumerate(keys)}
    return features


@torch.inference_mode()
def pooled_features(backbone: nn.Module, batches: Batches, pooling: str) -> np.ndarray:
    """Return the pooled last layer of every text or word, `(rows, width)`, single precision."""
    features: np.ndarray | None = None
    for rows in batches.by_length(BATCH_SIZE):
        batch = batches.batch(rows)
        part = features_of(backbone, batch, pooling).float().cpu().numpy()
        if features is None:
            features = np.empty((batches.num_outputs, part.shape[1]), dtype=np.float32)
        features[batches.places(rows)] = part
    return features if features is not None else np.empty((0, 0), dtype=np.float32)
