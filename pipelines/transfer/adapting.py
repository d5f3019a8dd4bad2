"""The stage `adapt`: pre-training goes on with texts of a domain, and leaves a model behind."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

from pipelines.contract import Artifact, Context, InputError, Member, StageResult
from pipelines.language.blocks import Vocabulary
from pipelines.language.training import Objective, language_learner, train_on_blocks
from pipelines.models.backbone import set_up_torch, trainable_copy, warm_tokenizer
from pipelines.models.files import ModelFiles, made_model, model_files
from pipelines.training.precision import precision_on
from pipelines.transfer.finetuning import weight_counts

AUTO_CLASSES: Mapping[Objective, Any] = {
    "masked": AutoModelForMaskedLM,
    "causal": AutoModelForCausalLM,
}


def adapt(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Train every weight of the model on the blocks of `inputs["blocks"]`, by its own objective.

    A head that the files lack, as those of a sentence encoder do, begins with fresh weights.

    Source: S. Gururangan et al., Don't Stop Pretraining, 2020.

    Returns:
        One result a member: the model with its head and the tokenizer, as of `made_model`. The
        value holds `objective`, `curve`, `validation_loss` and `validation_perplexity` besides.

    Raises:
        InputError: There is no language-modelling head for the model, or no mask token.
        DivergedError: The loss is no longer finite.
    """
    set_up_torch(context)
    files = model_files(context, sources, inputs)
    objective = objective_of(files)
    blocks = inputs["blocks"]
    vocabulary = Vocabulary.read(blocks.value["vocabulary"])
    tables = {split: blocks.table(split) for split in ("train", "validation")}
    results = []
    for index, member in enumerate(members):
        model: Any = trainable_copy(context, files, AUTO_CLASSES[objective])
        learner = language_learner(
            model, precision=precision_on(context.device, member["precision"])
        )
        params = {**member, "objective": objective}
        done = train_on_blocks(learner, tables, vocabulary, params, context.checkpoint(index))
        folder = context.scratch / f"adapted-{index}"
        model.save_pretrained(folder)
        warm_tokenizer(context, files).save_pretrained(folder)
        value = {"objective": objective, **done.value, **weight_counts(model)}
        results.append(made_model(folder, files.name, value))
        shutil.rmtree(folder)
    return results


def objective_of(files: ModelFiles) -> Objective:
    """Return how a model goes on learning: by hidden tokens if it can, else by each next one.

    Raises:
        InputError: Transformers has no head for either.
    """
    config = AutoConfig.from_pretrained(files.folder, local_files_only=True)
    saved_as = " ".join(config.architectures or [])
    is_decoder = "CausalLM" in saved_as or "LMHead" in saved_as
    if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not is_decoder:
        return "masked"
    if config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "causal"
    raise InputError(
        f"transformers has no language-modelling head for model {files.name!r} of type "
        f"{config.model_type!r}, so it cannot be adapted",
        key="method",
    )
