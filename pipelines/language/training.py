"""Trains a model with a language-modelling head on blocks of tokens; knows no pipeline.

What pre-training, adapting to a domain and the task of language modelling have in common.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import torch
from torch import nn

from pipelines.contract import Checkpoint, InputError, Json
from pipelines.language.blocks import Vocabulary
from pipelines.language.objectives import (
    BlockExamples,
    CausalExamples,
    MaskedExamples,
    language_forward,
)
from pipelines.models.token_batches import TokenBatches
from pipelines.training.learner import Learner, mean_loss
from pipelines.training.loop import train_for

Objective = Literal["masked", "causal"]
"""Hidden tokens are predicted from both sides, or each next one from those before it."""

VALIDATION_SEED = 0
"""What is hidden in blocks that measure; the same whatever trains, so that losses compare."""


@dataclass(frozen=True, kw_only=True)
class LanguageTraining:
    """How a training went."""

    curve: list[dict[str, Any]]
    """The points of the loop, and before them `{"step": 0, "epoch": 0, "validation_loss"}` of
    the model as it was."""
    validation_loss: float
    """Of the weights that are left in place: mean negative log likelihood, in nats a token."""

    @property
    def perplexity(self) -> float:
        """The exponential of the validation loss; that of hidden tokens if these are predicted."""
        return perplexity(self.validation_loss)

    @property
    def value(self) -> dict[str, Json]:
        """What a stage says of it."""
        return {
            "curve": self.curve,
            "validation_loss": self.validation_loss,
            "validation_perplexity": self.perplexity,
        }


def perplexity(loss: float) -> float:
    """Return `exp(loss)` of a mean negative log likelihood in nats.

    Beyond what a float holds it is the largest one, as results are kept as JSON, which has no
    infinity.
    """
    return math.exp(min(loss, 709.0))


def language_learner(
    model: nn.Module,
    groups: list[dict[str, Any]] | None = None,
    precision: torch.dtype = torch.float32,
    switched: Sequence[nn.Module] | None = None,
) -> Learner:
    """Return what the training loop trains; the model takes no other forward pass after this.

    Args:
        model: With a language-modelling head, as of `AutoModelForMaskedLM` or
            `AutoModelForCausalLM`.
        groups: AdamW's groups; by default one of all free weights.
        precision: `bfloat16` runs the forward pass in mixed precision.
        switched: The only parts that training switches on, as of :class:`Learner`.
    """
    free = [weight for weight in model.parameters() if weight.requires_grad]
    return Learner(
        forward=language_forward(model),
        module=model,
        groups=groups if groups is not None else [{"params": free}],
        precision=precision,
        switched=switched,
    )


def language_examples(
    blocks: pa.Table, vocabulary: Vocabulary, params: Mapping[str, Any], device: str, *, seed: int
) -> BlockExamples:
    """Return blocks with something to predict.

    Args:
        blocks: As of `blocks_of`.
        vocabulary: Of the tokenizer that made them.
        params: `objective`, and `mask_ratio` where it is `masked`.
        device: Where batches go.
        seed: Decides what is hidden.

    Raises:
        InputError: Tokens are to be hidden, but the tokenizer has no mask token.
    """
    batches = TokenBatches(blocks, vocabulary.pad_id, device)
    if params["objective"] == "causal":
        return CausalExamples(batches)
    if vocabulary.mask_id is None:
        raise InputError(
            "masked-language modelling hides tokens behind a mask token, and this model's "
            "tokenizer has none",
            key="models",
        )
    return MaskedExamples(batches, vocabulary, ratio=params["mask_ratio"], seed=seed)


def train_on_blocks(
    learner: Learner,
    blocks: Mapping[str, pa.Table],
    vocabulary: Vocabulary,
    params: Mapping[str, Any],
    checkpoint: Checkpoint | None = None,
) -> LanguageTraining:
    """Train on the blocks of `train`; the curve shows the loss on those of `validation`.

    Args:
        learner: As of :func:`language_learner`; its weights are changed in place.
        blocks: Tables `train` and `validation`, as of `blocks_of`.
        vocabulary: Of the tokenizer that made them.
        params: What the loop takes (`epochs`, `learning_rate`, `batch_size` in blocks,
            `weight_decay`, `schedule`, `warmup_ratio`, `max_grad_norm`, `seed`), `objective`,
            and `mask_ratio` where it is `masked`.
        checkpoint: Where to go on from, and where to save.

    Raises:
        InputError: The objective does not fit the tokenizer.
        DivergedError: The loss is no longer finite.
    """
    whole = (params["epochs"],)
    *_, (_, done) = train_on_blocks_for(whole, learner, blocks, vocabulary, params, checkpoint)
    return done


def train_on_blocks_for(
    epochs: Collection[int],
    learner: Learner,
    blocks: Mapping[str, pa.Table],
    vocabulary: Vocabulary,
    params: Mapping[str, Any],
    checkpoint: Checkpoint | None = None,
) -> Iterator[tuple[int, LanguageTraining]]:
    """Train once and stop over after several numbers of epochs; see :func:`train_for`.

    Args:
        epochs: After how many epochs to stop over; the most of them are those of `params`.
        learner: As for :func:`train_on_blocks`, as what follows.
        blocks: Tables `train` and `validation`.
        vocabulary: Of the tokenizer that made them.
        params: What the loop takes, and the objective.
        checkpoint: Where to go on from; what an earlier attempt has passed is not given again.

    Yields:
        A number of epochs and how training went until there, while the learner has the weights
        that belong to it.

    Raises:
        InputError: The objective does not fit the tokenizer.
        DivergedError: The loss is no longer finite.
    """
    device = str(next(learner.module.parameters()).device)
    train_set = language_examples(blocks["train"], vocabulary, params, device, seed=params["seed"])
    validation_set = language_examples(
        blocks["validation"], vocabulary, params, device, seed=VALIDATION_SEED
    )
    before = mean_loss(learner, validation_set)
    keeps_best = params.get("patience") is not None
    for after, curve in train_for(epochs, learner, train_set, validation_set, params, checkpoint):
        losses = [point["validation_loss"] for point in curve if "validation_loss" in point]
        yield (
            after,
            LanguageTraining(
                curve=[{"step": 0, "epoch": 0, "validation_loss": before}, *curve],
                validation_loss=min(losses) if keeps_best else losses[-1],
            ),
        )
