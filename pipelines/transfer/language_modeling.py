"""The stage `language-modeling`: a causal model learns texts, and tells how likely others are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from transformers import AutoModelForCausalLM

from pipelines.contract import Artifact, Context, Member, StageResult
from pipelines.language.blocks import Vocabulary
from pipelines.language.objectives import block_losses
from pipelines.language.training import language_examples, language_learner, train_on_blocks
from pipelines.models.backbone import use_threads
from pipelines.models.files import model_files
from pipelines.training.loop import Learner
from pipelines.training.precision import precision_on
from pipelines.transfer.finetuning import BACKBONES, backbone_groups, weight_counts


def finetune_language_model(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Train what the member's method leaves free of a model with its own head.

    Returns:
        One result a member. The curve begins with the validation loss of the model as it was, at
        step 0. Table `predictions` has one row a block: `split`, `row` (the block's number),
        `num_tokens` that were predicted, and `nll`, the sum of their negative log likelihoods in
        nats.

    Raises:
        DivergedError: The loss is no longer finite.
    """
    return [result for _, result in language_trainings(context, members, inputs, sources)]


def language_trainings(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> Iterator[tuple[Learner, StageResult]]:
    """Yield what each member has trained, and its result."""
    use_threads(context)
    files = model_files(context, sources, inputs)
    blocks = inputs["blocks"]
    vocabulary = Vocabulary.read(blocks.value["vocabulary"])
    tables = {split: blocks.table(split) for split in ("train", "validation", "test")}
    for index, member in enumerate(members):
        model = BACKBONES[member["method"]](context, files, member, AutoModelForCausalLM)
        learner = language_learner(
            model, backbone_groups(model, member), precision_on(context.device, member["precision"])
        )
        params = {**member, "objective": "causal"}
        done = train_on_blocks(learner, tables, vocabulary, params, context.checkpoint(index))
        value = {"labels": None, "curve": done.curve, **weight_counts(model)}
        scored = [_scored(learner, tables[s], vocabulary, s) for s in ("validation", "test")]
        predictions = pa.concat_tables(scored).unify_dictionaries()
        yield learner, StageResult(value=value, tables={"predictions": predictions})


def _scored(learner: Learner, blocks: pa.Table, vocabulary: Vocabulary, split: str) -> pa.Table:
    device = str(next(learner.module.parameters()).device)
    examples = language_examples(blocks, vocabulary, {"objective": "causal"}, device, seed=0)
    losses, counts = block_losses(learner, examples)
    return pa.table(
        {
            "split": pa.array([split] * len(blocks)).dictionary_encode(),
            "row": range(len(blocks)),
            "num_tokens": counts,
            "nll": losses,
        }
    )
