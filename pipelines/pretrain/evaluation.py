"""The stage `evaluate`: what a pre-trained model says of text that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.contract import Artifact, Context, Member, StageResult
from pipelines.language.blocks import Vocabulary
from pipelines.language.texts import texts_of
from pipelines.language.training import (
    VALIDATION_SEED,
    language_examples,
    language_learner,
    perplexity,
)
from pipelines.models.backbone import set_up_torch, trainable_copy
from pipelines.models.files import model_files
from pipelines.pretrain.architectures import HEADS
from pipelines.training.learner import mean_loss


def evaluate(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Return loss, perplexity and, of a causal model, bits a byte of the held-out splits.

    The loss is the mean negative log likelihood in nats of a token to be predicted. Bits a byte
    depend on no tokenizer, so that models with different vocabularies compare.
    """
    set_up_torch(context)
    made = inputs["model"]
    objective, mask_ratio = made.value["objective"], made.value["mask_ratio"]
    model = trainable_copy(context, model_files(context, sources, inputs), HEADS[objective])
    learner = language_learner(model)
    blocks = inputs["blocks"]
    vocabulary = Vocabulary.read(dict(blocks.value["vocabulary"]))
    metrics: dict[str, float] = {}
    for split in ("validation", "test"):
        examples = language_examples(
            blocks.table(split),
            vocabulary,
            {"objective": objective, "mask_ratio": mask_ratio},
            context.device,
            seed=VALIDATION_SEED,
        )
        loss = mean_loss(learner, examples)
        metrics |= {f"{split}/loss": loss, f"{split}/perplexity": perplexity(loss)}
        if objective == "causal":
            tokens = blocks.value["num_tokens"][split]
            num_bytes = sum(len(text.encode()) for text in texts_of(inputs["texts"].table(split)))
            metrics[f"{split}/bits_per_byte"] = loss / math.log(2) * tokens / num_bytes
    value = {"metrics": metrics, "curve": made.value["learning_curve"]}
    return [StageResult(value=value) for _ in members]
