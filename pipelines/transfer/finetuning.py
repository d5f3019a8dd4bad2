"""The methods that train weights of the model itself: what each of them leaves free."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModel

from pipelines.contract import Artifact, Context, Member, StageResult
from pipelines.models.anatomy import depth_of_weights, freeze_below, linear_layers
from pipelines.models.backbone import (
    fresh_model,
    last_hidden,
    pooled,
    set_up_torch,
    trainable_copy,
)
from pipelines.models.dropout import DrawnDropout, adapter_dropouts
from pipelines.models.files import ModelFiles, model_files
from pipelines.models.like_length import last_hidden_in_parts
from pipelines.seeding import stream_seed
from pipelines.training.learner import Learner, predict
from pipelines.training.loop import train
from pipelines.training.precision import precision_on
from pipelines.transfer.data.loading import SPLITS
from pipelines.transfer.data.prepared import PREPARED, Batches, batches_of
from pipelines.transfer.data.truth import truth_of
from pipelines.transfer.distilling import taught
from pipelines.transfer.examples import (
    LabelScale,
    PreparedExamples,
    new_head,
    num_outputs,
    score_tables,
)
from pipelines.transfer.teachers import TRAIN_SCORES


def finetune(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Train what the member's method leaves free of the model, and a new linear head."""
    return [result for _, result in trainings(context, members, inputs, sources)]


def trainings(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> Iterator[tuple[Learner, StageResult]]:
    """Yield what each member has trained, and its result."""
    set_up_torch(context)
    files = model_files(context, sources, inputs)
    task = PreparedTask(context, inputs[PREPARED])
    for index, member in enumerate(members):
        learner = new_learner(context, files, member, num_outputs(task.labels))
        train_set = taught(task.sets["train"], task.truth["train"], task.scale, inputs, member)
        validation_set = task.sets["validation"]
        curve = train(learner, train_set, validation_set, member, context.checkpoint(index))
        yield learner, task.result(learner, curve, context.keep)


class PreparedTask:
    """A task as a model takes it: rows, labels, and what is made of outputs."""

    def __init__(self, context: Context, prepared: Artifact) -> None:
        self.truth = {split: truth_of(prepared.table(split)) for split in SPLITS}
        self.labels = prepared.value["labels"]
        is_regression = self.labels is None
        self.scale = LabelScale(self.truth["train"].labels, is_regression=is_regression)
        self.batches = {split: batches_of(prepared, split, context.device) for split in SPLITS}
        self._targets = {
            split: self.scale.to_targets(part.targets, context.device)
            for split, part in self.truth.items()
        }
        self.sets = self.sets_of(self.batches)

    def sets_of(self, batches: Mapping[str, Batches]) -> dict[str, PreparedExamples]:
        """Return the labelled rows of each split, given as these batches."""
        return {s: PreparedExamples(batches[s], self._targets[s]) for s in SPLITS}

    def result(
        self,
        learner: Learner,
        curve: Sequence[Mapping[str, Any]],
        keep: Set[str],
        sets: Mapping[str, PreparedExamples] | None = None,
    ) -> StageResult:
        """Return what a training leaves behind."""
        splits = SPLITS if TRAIN_SCORES in keep else SPLITS[1:]
        outputs = {split: predict(learner, (sets or self.sets)[split]) for split in splits}
        return StageResult(
            value={"labels": self.labels, "curve": curve, **weight_counts(learner.module)},
            tables=score_tables(outputs, self.truth, self.scale, keep),
        )


def new_learner(context: Context, files: ModelFiles, member: Member, outputs: int) -> Learner:
    """Return the model with a new head, those weights free that the member's method trains."""
    backbone = BACKBONES[member["method"]](context, files, member, AutoModel)
    config: Any = backbone.config
    head = new_head(_width(config), outputs, member["seed"]).to(context.device)
    dropout = DrawnDropout(getattr(config, "hidden_dropout_prob", 0.1))
    is_fixed = member["method"] == "lora"
    # Side by side, adapters draw dropout for a whole batch; alone they draw the same.
    run = last_hidden if adapter_dropouts(backbone) else last_hidden_in_parts

    def forward(batch: dict[str, Tensor]) -> Tensor:
        features = pooled(run(backbone, batch), batch, member["pooling"])  # (batch, width)
        return cast(Tensor, head(dropout(features)))

    return Learner(
        forward=forward,
        module=nn.ModuleDict({"backbone": backbone, "dropout": dropout, "head": head}),
        groups=[*backbone_groups(backbone, member), _head_group(head, member)],
        precision=precision_on(context.device, member["precision"]),
        switched=[*adapter_dropouts(backbone), dropout, head] if is_fixed else None,
    )


def _full(context: Context, files: ModelFiles, member: Member, auto_class: Any) -> nn.Module:
    """Return the model, every weight free."""
    del member
    return trainable_copy(context, files, auto_class)


def _partial(context: Context, files: ModelFiles, member: Member, auto_class: Any) -> nn.Module:
    """Return the model, its lowest layers frozen."""
    backbone = trainable_copy(context, files, auto_class)
    freeze_below(backbone, member["frozen_layers"])
    return backbone


def _scratch(context: Context, files: ModelFiles, member: Member, auto_class: Any) -> nn.Module:
    """Return the same architecture with fresh weights, drawn from the seed."""
    return fresh_model(context, files, stream_seed(member["seed"], "scratch"), auto_class)


def _lora(context: Context, files: ModelFiles, member: Member, auto_class: Any) -> nn.Module:
    """Return the frozen model with free low-rank adapters in its layers, or in the upper ones.

    Source: E. J. Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021.
    """
    from peft import LoraConfig, inject_adapter_in_model  # noqa: PLC0415 - takes seconds

    backbone = trainable_copy(context, files, auto_class)
    targets = linear_layers(
        backbone,
        attention_only=member["target_modules"] == "attention",
        frozen_layers=member.get("frozen_layers", 0),
    )
    config = LoraConfig(
        r=member["rank"],
        lora_alpha=member["alpha"],
        lora_dropout=member["dropout"],
        target_modules=targets,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(member["seed"], "lora"))
        adapted = inject_adapter_in_model(config, backbone)
    if member["dropout"]:
        for name in targets:
            adapter: Any = adapted.get_submodule(name)
            adapter.lora_dropout["default"] = DrawnDropout(member["dropout"])
    return adapted


BACKBONES: dict[str, Callable[[Context, ModelFiles, Member, Any], nn.Module]] = {
    "full": _full,
    "distill": _full,
    "partial": _partial,
    "scratch": _scratch,
    "lora": _lora,
}
"""By method: how the model of an auto class is made, with `requires_grad` where it is trained."""


def backbone_groups(backbone: nn.Module, member: Member) -> list[dict[str, Any]]:
    """Return AdamW's groups of the free weights; a layer's rate falls with its depth.

    Source: J. Howard and S. Ruder, Universal Language Model Fine-tuning, 2018 (discriminative
    fine-tuning).
    """
    free = {name: weight for name, weight in backbone.named_parameters() if weight.requires_grad}
    decay = member.get("layer_decay", 1.0)
    if decay == 1.0:
        return [{"params": list(free.values())}] if free else []
    depths, top = depth_of_weights(backbone)
    groups: dict[int, list[Tensor]] = {}
    for name, weight in free.items():
        groups.setdefault(depths[name], []).append(weight)
    return [
        {"params": weights, "lr": member["learning_rate"] * decay ** (top - depth)}
        for depth, weights in sorted(groups.items())
    ]


def _head_group(head: nn.Module, member: Member) -> dict[str, Any]:
    rate = member["head_learning_rate"] or member["learning_rate"]
    return {"params": list(head.parameters()), "lr": rate}


def _width(config: Any) -> int:
    sizes = getattr(config, "hidden_sizes", None)  # a pyramid, as ResNet is
    return int(sizes[-1] if sizes else config.hidden_size)


def weight_counts(module: nn.Module) -> dict[str, int]:
    """Return how many weights there are, and how many of them were trained."""
    weights = list(module.parameters())
    return {
        "num_weights": sum(weight.numel() for weight in weights),
        "num_trained_weights": sum(weight.numel() for weight in weights if weight.requires_grad),
    }
