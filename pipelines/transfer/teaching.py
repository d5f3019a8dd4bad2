"""The stage `teach`: the scores of a saved model on the training rows; trains nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import AutoModelForSequenceClassification

import pipelines.transfer.export.exported  # noqa: F401 - transformers learns of exports
from pipelines.contract import Artifact, Context, InputError, Member, StageResult
from pipelines.models.backbone import set_up_torch, warm_model, warm_tokenizer
from pipelines.models.files import ModelFiles, model_files
from pipelines.models.token_batches import TokenBatches
from pipelines.transfer.data.tokenization import tokenized
from pipelines.transfer.encoding import BATCH_SIZE
from pipelines.transfer.teachers import TEACHER, TRAIN_SCORES


def teach(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Return `labels`, and the table `train_scores`: `row`, `prediction`, `scores`.

    Real numbers are predicted in the task's own unit.

    Raises:
        InputError: The model has no classifying head, or its classes are not the task's.
    """
    set_up_torch(context)
    files = model_files(context, sources, inputs)
    labels = inputs["examples"].value["labels"]
    order = outputs_in_order(_config(files), labels)
    results = []
    for member in members:
        rows = inputs["examples"].table("train")
        scores = _scores(context, files, rows, member["max_length"])[:, order]
        predictions = scores.argmax(axis=1) if labels else scores[:, 0].astype(np.float64)
        table = pa.table(
            {
                "row": rows["row"],
                "prediction": predictions,
                "scores": pa.FixedSizeListArray.from_arrays(scores.ravel(), scores.shape[1]),
            }
        )
        results.append(StageResult(value={"labels": labels}, tables={TRAIN_SCORES: table}))
    return results


def _config(files: ModelFiles) -> Mapping[str, Any]:
    config: Mapping[str, Any] = json.loads((files.folder / "config.json").read_text("utf-8"))
    architectures = config.get("architectures") or []
    if not any(re.search("SequenceClassif|PooledTextClassif", name) for name in architectures):
        raise InputError(
            f"the teacher {files.folder} has no classifying head: it was saved as "
            f"{', '.join(architectures) or 'nothing that it names'}; save it by "
            "AutoModelForSequenceClassification, or write {model: ..., method: full} to train it",
            key=TEACHER,
        )
    return config


def outputs_in_order(config: Mapping[str, Any], labels: Sequence[str] | None) -> list[int]:
    """Return which of the model's outputs stands for each class of the task.

    Args:
        config: The content of `config.json`.
        labels: The task's classes; None for real numbers.

    Raises:
        InputError: The names of the classes differ, or their number.
    """
    names = {int(index): str(name) for index, name in config.get("id2label", {}).items()}
    names = names or {0: "LABEL_0", 1: "LABEL_1"}  # as transformers fills it in
    if labels is None:
        if len(names) != 1:
            raise InputError(
                f"the teacher tells the classes {', '.join(names.values())}, and the task asks "
                "for a number: its model must have one output",
                key=TEACHER,
            )
        return [0]
    if sorted(names.values()) != sorted(labels):
        raise InputError(
            f"the teacher tells the classes {', '.join(names.values())}, and the task has "
            f"{', '.join(labels)}; name them alike under `id2label` in the model's config.json",
            key=TEACHER,
        )
    place = {name: index for index, name in names.items()}
    return [place[label] for label in labels]


@torch.inference_mode()
def _scores(context: Context, files: ModelFiles, rows: pa.Table, max_length: int) -> np.ndarray:
    """Return `(rows, outputs)` of the model, by its own tokenizer."""
    tokenizer = warm_tokenizer(context, files)
    length = min(max_length, tokenizer.model_max_length)
    table = tokenized(tokenizer, rows, length)
    batches = TokenBatches(table, tokenizer.pad_token_id or 0, context.device)
    model = warm_model(context, files, AutoModelForSequenceClassification)
    scores: np.ndarray | None = None
    for places in batches.by_length(BATCH_SIZE):
        logits = model(**batches.batch(places)).logits.float().cpu().numpy()
        if scores is None:
            scores = np.empty((len(batches), logits.shape[1]), dtype=np.float32)
        scores[places] = logits
    assert scores is not None  # a split is never empty
    return scores
