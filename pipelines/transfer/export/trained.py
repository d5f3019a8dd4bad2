"""Puts the weights that a trial trained back into its model; writes no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from pipelines.contract import Artifact, Context, Node
from pipelines.exports import Export
from pipelines.models.backbone import trainable_copy
from pipelines.models.files import ModelFiles, model_files
from pipelines.transfer.data.prepared import PREPARED
from pipelines.transfer.examples import num_outputs
from pipelines.transfer.finetuning import BACKBONES, new_learner

EXAMPLES = "examples"
"""The role of the artifact of `load` among the inputs of what prepares it."""
BLOCKS = "blocks"
"""The role of texts cut into blocks, which a language model learns."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """The linear map on top of the features."""

    weight: np.ndarray
    """`(outputs, width)`."""
    bias: np.ndarray
    """`(outputs,)`."""
    pooling: str
    """How the features become one vector, where there are several."""


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A trial's model and what it was made from."""

    backbone: nn.Module
    """The model without a head; a language model with its own."""
    head: Head | None
    """None of a language model."""
    labels: list[str] | None
    base: Node
    """The node that was given the base model."""
    files: ModelFiles
    """The base model."""
    prepared: Node
    """The examples as the model takes them."""
    predictions: pa.Table
    """What the trial kept."""

    @property
    def examples(self) -> Node:
        """The examples as they were loaded."""
        return self.prepared.inputs[EXAMPLES]

    def of_test(self) -> pa.Table:
        """Return what the trial kept of the test rows."""
        return self.predictions.filter(pc.equal(self.predictions["split"], "test"))


def trained_model(context: Context, export: Export) -> TrainedModel:
    """Return the model of a trial with the weights that its training gave.

    Raises:
        InputError: The base model is not there any more.
    """
    if "features" in export.node.inputs:
        return _probed(context, export)
    return (
        _language_model(context, export)
        if BLOCKS in export.node.inputs
        else _tuned(context, export)
    )


def _probed(context: Context, export: Export) -> TrainedModel:
    artifact = export.artifacts[export.node.digest]
    features = export.node.inputs["features"]
    files = _files(context, features, export)
    return TrainedModel(
        backbone=trainable_copy(context, files),
        head=Head(
            weight=artifact.array("weight"),
            bias=artifact.array("bias"),
            pooling=features.params["pooling"],
        ),
        labels=artifact.value["labels"],
        base=features,
        files=files,
        prepared=features.inputs[PREPARED],
        predictions=artifact.table("predictions"),
    )


def _tuned(context: Context, export: Export) -> TrainedModel:
    node, artifact = export.node, export.artifacts[export.node.digest]
    labels = artifact.value["labels"]
    files = _files(context, node, export)
    learner = new_learner(context, files, node.params, num_outputs(labels))
    _restore(learner.trainable(), artifact)
    return TrainedModel(
        backbone=cast(nn.ModuleDict, learner.module)["backbone"],
        head=Head(
            weight=artifact.array("head.weight"),
            bias=artifact.array("head.bias"),
            pooling=node.params["pooling"],
        ),
        labels=labels,
        base=node,
        files=files,
        prepared=node.inputs[PREPARED],
        predictions=_kept(export),
    )


def _language_model(context: Context, export: Export) -> TrainedModel:
    node, artifact = export.node, export.artifacts[export.node.digest]
    files = _files(context, node, export)
    model = BACKBONES[node.params["method"]](context, files, node.params, AutoModelForCausalLM)
    free = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    _restore(free | dict(model.named_buffers()), artifact)
    return TrainedModel(
        backbone=model,
        head=None,
        labels=None,
        base=node,
        files=files,
        prepared=node.inputs[BLOCKS],
        predictions=_kept(export),
    )


def _files(context: Context, node: Node, export: Export) -> ModelFiles:
    inputs = {role: export.artifacts[earlier.digest] for role, earlier in node.inputs.items()}
    return model_files(context, node.sources, inputs)


def _kept(export: Export) -> pa.Table:
    return export.artifacts[export.node.inputs["predictions"].digest].table("predictions")


def _restore(trainable: Mapping[str, torch.Tensor], artifact: Artifact) -> None:
    with torch.no_grad():
        for name, weight in trainable.items():
            weight.copy_(torch.tensor(artifact.array(name)))
