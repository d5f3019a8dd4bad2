"""Writes a trained model as a folder that transformers loads; knows neither sweep nor store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import nn
from transformers import AutoTokenizer

from pipelines.contract import Artifact, Context, Node
from pipelines.exports import Agreement, Export, Verification
from pipelines.models.backbone import trainable_copy, use_threads
from pipelines.models.files import ModelFiles, model_files
from pipelines.sources import Model, fetch
from pipelines.transfer.examples import LabelScale, num_outputs
from pipelines.transfer.export.adapters import merge_adapters, save_with_adapter
from pipelines.transfer.export.card import write_card
from pipelines.transfer.export.exported import load
from pipelines.transfer.export.exported_model import PooledTextClassifier, PooledTextConfig
from pipelines.transfer.export.retraining import comparable, compare
from pipelines.transfer.finetuning import new_learner

MAX_VERIFIED_ROWS = 256
"""Test rows on which the written folder is compared with the trial: seconds, on a laptop."""


@dataclass(frozen=True, kw_only=True)
class _Trained:
    """A trial's model and what it was made from."""

    backbone: nn.Module
    weight: np.ndarray
    """Of the head, `(outputs, width)`."""
    bias: np.ndarray
    pooling: str
    labels: list[str] | None
    model: Model
    tokens: Node
    predictions: pa.Table


def export(context: Context, export: Export) -> Verification:
    """Write model, tokenizer and card, and compare what is loaded again with the trial.

    Raises:
        InputError: The model is not there any more.
    """
    use_threads(context)
    trained = _trained(context, export)
    examples = trained.tokens.inputs["examples"]
    source = fetch(trained.model.source)
    _save_tokenizer(source, trained.tokens.params["max_length"], export.folder)
    exported = _exported(trained, export.artifacts[trained.tokens.digest])
    if export.merge:
        merge_adapters(exported.backbone)
        exported.cpu().save_pretrained(export.folder)
    else:
        save_with_adapter(exported.cpu(), trained.model, export.folder)
    retrained = export.artifacts[export.node.digest].value.get("agreement")
    verification = Verification(
        retrained=Agreement(**retrained) if retrained else None,
        reloaded=_reloaded(
            load(export.folder, base=source), trained, export.artifacts[examples.digest]
        ),
    )
    write_card(export, examples, trained.model, verification)
    return verification


def _trained(context: Context, export: Export) -> _Trained:
    """Put the kept weights back into the model."""
    node, artifact = export.node, export.artifacts[export.node.digest]
    labels = artifact.value["labels"]
    if "features" in node.inputs:  # a probe: the model itself was not trained
        features = node.inputs["features"]
        model = cast(Model, features.sources["model"])
        return _Trained(
            backbone=trainable_copy(context, _files(context, features, export)),
            weight=artifact.array("weight"),
            bias=artifact.array("bias"),
            pooling=features.params["pooling"],
            labels=labels,
            model=model,
            tokens=features.inputs["prepared"],
            predictions=artifact.table("predictions"),
        )
    model = cast(Model, node.sources["model"])
    files = _files(context, node, export)
    learner = new_learner(context, files, node.params, num_outputs(labels))
    _restore(learner.trainable(), artifact)
    return _Trained(
        backbone=cast(nn.ModuleDict, learner.module)["backbone"],
        weight=artifact.array("head.weight"),
        bias=artifact.array("head.bias"),
        pooling=node.params["pooling"],
        labels=labels,
        model=model,
        tokens=node.inputs["prepared"],
        predictions=export.artifacts[node.inputs["predictions"].digest].table("predictions"),
    )


def _files(context: Context, node: Node, export: Export) -> ModelFiles:
    inputs = {role: export.artifacts[earlier.digest] for role, earlier in node.inputs.items()}
    return model_files(context, node.sources, inputs)


def _restore(trainable: Mapping[str, torch.Tensor], artifact: Artifact) -> None:
    with torch.no_grad():
        for name, weight in trainable.items():
            weight.copy_(torch.tensor(artifact.array(name)))


def _exported(trained: _Trained, tokens: Artifact) -> PooledTextClassifier:
    """Return the trained model in the class that is shipped with it."""
    labels = trained.labels
    scale = LabelScale(tokens.table("train")["label"].to_numpy(), is_regression=labels is None)
    weight, bias = scale.folded(trained.weight, trained.bias)
    backbone: Any = trained.backbone
    inner = backbone.config.to_dict()
    inner.pop("_name_or_path", None)  # a folder of this machine
    names = dict(enumerate(labels or ["value"]))
    config = PooledTextConfig(
        backbone=inner,
        pooling=trained.pooling,
        id2label=names,
        label2id={name: index for index, name in names.items()},
        problem_type="regression" if labels is None else "single_label_classification",
    )
    exported = PooledTextClassifier(config)
    exported.backbone = backbone
    with torch.no_grad():
        exported.head.weight.copy_(torch.tensor(weight))
        exported.head.bias.copy_(torch.tensor(bias))
    exported.eval()
    return exported


def _save_tokenizer(source: Path, max_length: int, folder: Path) -> None:
    """Save the tokenizer such that it cuts and pads as in training."""
    tokenizer: Any = AutoTokenizer.from_pretrained(source, local_files_only=True)
    tokenizer.model_max_length = max_length
    tokenizer.padding_side = "right"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
    tokenizer.save_pretrained(folder)


def _reloaded(pipeline: Any, trained: _Trained, examples: Artifact) -> Agreement:
    """Compare the predictions of a loaded folder with those that the trial kept."""
    kept = trained.predictions
    kept = kept.filter(pc.equal(kept["split"], "test")).slice(0, MAX_VERIFIED_ROWS)
    table = examples.table("test")
    table = table.take(pc.index_in(kept["row"], value_set=table["row"]))
    columns = [name for name in ("text", "text_pair") if name in table.column_names]
    answers = pipeline(table.select(columns).to_pylist(), top_k=None)
    index = pipeline.model.config.label2id
    again = np.zeros((len(answers), len(index)))
    for row, answer in enumerate(answers):
        for score in answer:
            again[row, index[score["label"]]] = score["score"]
    spread = 1.0 if trained.labels else float(np.std(kept["label"].to_pylist())) or 1.0
    return compare(comparable(kept), again, unit=spread)
