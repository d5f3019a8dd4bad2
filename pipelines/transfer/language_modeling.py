"""The stage `language-modeling`: a causal model learns texts, and tells how likely others are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from transformers import AutoModelForCausalLM

from pipelines.cohorts import CohortMember, Finished
from pipelines.contract import Artifact, Checkpoint, Context, Member, StageResult
from pipelines.language.blocks import Vocabulary
from pipelines.language.objectives import block_losses
from pipelines.language.training import (
    LanguageTraining,
    language_examples,
    language_learner,
    train_on_blocks_for,
)
from pipelines.models.backbone import set_up_torch
from pipelines.models.dropout import adapter_dropouts
from pipelines.models.files import ModelFiles, model_files
from pipelines.training.learner import Learner
from pipelines.training.precision import precision_on
from pipelines.transfer.finetuning import BACKBONES, backbone_groups, weight_counts
from pipelines.transfer.read_out import each_read_out


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
    set_up_torch(context)
    files = model_files(context, sources, inputs)
    task = _BlockTask(inputs["blocks"])
    for index, member in enumerate(members):
        learner = new_language_learner(context, files, member)
        whole = (member["epochs"],)
        *_, (_, done) = task.train_for(whole, learner, member, context.checkpoint(index))
        yield learner, task.result(learner, done)


def finetune_language_model_once(
    context: Context, members: Sequence[CohortMember]
) -> Iterator[Finished]:
    """Train for the longest, and give each member the losses and curve of its last epoch.

    Members that an earlier attempt has passed without keeping them are left to be trained alone.
    """
    set_up_torch(context)
    first = members[0]
    files = model_files(context, first.sources, first.inputs)
    task = _BlockTask(first.inputs["blocks"])
    learner = new_language_learner(context, files, first.params)

    def training(
        epochs: Collection[int], params: Member, checkpoint: Checkpoint
    ) -> Iterator[tuple[int, LanguageTraining]]:
        return task.train_for(epochs, learner, params, checkpoint)

    def result(done: LanguageTraining, member: CohortMember) -> StageResult:
        del member  # there are no extras that it could want
        return task.result(learner, done)

    yield from each_read_out(context, dict(enumerate(members)), training, result)


def new_language_learner(context: Context, files: ModelFiles, member: Member) -> Learner:
    """Return the model with its own head, those weights free that the member's method trains."""
    model = BACKBONES[member["method"]](context, files, member, AutoModelForCausalLM)
    return language_learner(
        model,
        backbone_groups(model, member),
        precision_on(context.device, member["precision"]),
        adapter_dropouts(model) if member["method"] == "lora" else None,
    )


class _BlockTask:
    """Blocks of tokens to learn, and what is made of a model that has learnt them."""

    def __init__(self, blocks: Artifact) -> None:
        self._vocabulary = Vocabulary.read(blocks.value["vocabulary"])
        self._tables = {split: blocks.table(split) for split in ("train", "validation", "test")}

    def train_for(
        self, epochs: Collection[int], learner: Learner, member: Member, checkpoint: Checkpoint
    ) -> Iterator[tuple[int, LanguageTraining]]:
        """Train once and stop over after several numbers of epochs."""
        params = {**member, "objective": "causal"}
        return train_on_blocks_for(
            epochs, learner, self._tables, self._vocabulary, params, checkpoint
        )

    def result(self, learner: Learner, done: LanguageTraining) -> StageResult:
        """Return what a training leaves behind."""
        scored = [
            _scored(learner, self._tables[split], self._vocabulary, split)
            for split in ("validation", "test")
        ]
        return StageResult(
            value={"labels": None, "curve": done.curve, **weight_counts(learner.module)},
            tables={"predictions": pa.concat_tables(scored).unify_dictionaries()},
        )


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
