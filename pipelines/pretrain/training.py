"""The stage `train`: a fresh model learns from blocks of text, and is left as the hub has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from pipelines.contract import Artifact, Context, Member, StageResult
from pipelines.language.blocks import Vocabulary
from pipelines.language.training import language_learner, train_on_blocks
from pipelines.models.backbone import set_up_torch, warm_tokenizer
from pipelines.models.files import made_model, model_files
from pipelines.pretrain.architectures import fresh_language_model
from pipelines.training.precision import precision_on


def pretrain(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Train a fresh model on the blocks of the corpus; return it in the hub's layout.

    The value holds `num_weights`, `num_tokens` (of the training blocks), `validation_loss` and
    `learning_curve`: not `curve`, which would be taken for that of every trial on the model.

    Raises:
        DivergedError: The loss is no longer finite.
    """
    set_up_torch(context)
    tokenizer = warm_tokenizer(
        context, model_files(context, sources, {"model": inputs["tokenizer"]})
    )
    blocks = inputs["blocks"]
    vocabulary = Vocabulary.read(dict(blocks.value["vocabulary"]))
    tables = {split: blocks.table(split) for split in ("train", "validation")}
    results = []
    for index, member in enumerate(members):
        model = fresh_language_model(member, tokenizer).to(context.device)
        learner = language_learner(
            model, precision=precision_on(context.device, member["precision"])
        )
        training = train_on_blocks(learner, tables, vocabulary, member, context.checkpoint(index))
        value = {
            "objective": member["objective"],
            "mask_ratio": member.get("mask_ratio"),
            "num_weights": sum(weight.numel() for weight in model.parameters()),
            "num_tokens": blocks.value["num_tokens"]["train"],
            "validation_loss": training.validation_loss,
            "learning_curve": training.curve,
        }
        folder = context.scratch / str(index)
        folder.mkdir()
        save(model, tokenizer, member["max_length"], folder)
        results.append(made_model(folder, "the pre-trained model", value))
    return results


def save(model: nn.Module, tokenizer: Any, max_length: int, folder: Path) -> None:
    """Write model and tokenizer in the hub's layout; the tokenizer cuts what is too long."""
    saved: Any = model
    saved.cpu().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
