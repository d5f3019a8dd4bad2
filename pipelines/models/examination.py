"""The facts of a model, found by building it without weights; loads no weights and runs nothing."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
)

import pipelines.models.efficientnet_lite  # noqa: F401 - AutoModel knows it from here on
from pipelines.contract import InputError
from pipelines.models.anatomy import layers_of, linear_layers
from pipelines.sources.facts import ModelFacts

_MODALITIES = {"input_ids": "text", "pixel_values": "image"}
"""What a model takes, by the name that transformers gives to its main input."""
_FIRST_TOKENS = ("cls_token", "class_embedding")
"""What transformers calls the learnt token before the patches of an image."""


def examine(folder: Path) -> ModelFacts:
    """Return the facts of the model whose `config.json` is in a folder.

    Raises:
        InputError: The configuration cannot be read, transformers does not know the
            architecture, or the model takes neither text nor images.
    """
    model = _hollow(folder)
    config = model.config
    modality = _MODALITIES.get(model.main_input_name)
    if modality is None:
        raise InputError(f"it takes {model.main_input_name}; only text and images are known here")
    fills_masks = type(config) in MODEL_FOR_MASKED_LM_MAPPING
    generates = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
    is_text = modality == "text"
    is_pair = bool(getattr(config, "is_encoder_decoder", False))
    # Encoders such as BERT have a causal head too; they are decoders only if they say so.
    is_causal = is_text and generates and (not fills_masks or bool(config.is_decoder))
    return ModelFacts(
        modality="text" if is_text else "image",
        is_causal=is_causal,
        is_encoder_decoder=is_pair,
        num_layers=_num_layers(model),
        has_linear_layers=_has_linear(model, attention_only=False),
        has_attention=_has_linear(model, attention_only=True),
        has_first_token=not is_causal if is_text else _has_class_token(model),
        max_length=_max_length(model) if is_text else None,
        can_fill_masks=fills_masks and not is_causal and not is_pair,
        can_generate=is_causal and not is_pair,
    )


def _hollow(folder: Path) -> PreTrainedModel:
    """Return the model on torch's `meta` device: shapes and names, no numbers."""
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            return AutoModel.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"transformers cannot build it from its config.json: {reason}") from error


def _num_layers(model: nn.Module) -> int:
    try:
        return len(layers_of(model)[1])
    except InputError:
        return 0


def _has_linear(model: nn.Module, *, attention_only: bool) -> bool:
    try:
        return bool(linear_layers(model, attention_only=attention_only))
    except InputError:
        return False


def _has_class_token(model: nn.Module) -> bool:
    return any(name.rpartition(".")[2] in _FIRST_TOKENS for name, _ in model.named_parameters())


def _max_length(model: PreTrainedModel) -> int | None:
    """Return how many tokens the model takes: what it states, and what its tables have room for.

    RoBERTa and its like number tokens from the one after the padding, so that the first rows of
    their table belong to no token; OPT's table has rows to spare instead.
    """
    stated = getattr(model.config, "max_position_embeddings", None)
    tables = [
        module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding)
        if "position" in name or name.endswith("wpe")
    ]
    return min([*tables, *([stated] if stated and stated > 0 else [])], default=None)
