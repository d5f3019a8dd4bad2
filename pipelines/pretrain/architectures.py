"""From sizes to a fresh model with a language-modelling head; knows no data and no training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

from pipelines.contract import Member
from pipelines.seeding import stream_seed

HEADS: Mapping[str, Any] = {"masked": AutoModelForMaskedLM, "causal": AutoModelForCausalLM}
"""By objective: which of transformers' auto classes gives the model its head."""
_FEED_FORWARD = {"gpt2": "n_inner"}
"""What an architecture calls `intermediate_size`, where it has a name of its own for it."""


def fresh_language_model(member: Member, tokenizer: Any) -> nn.Module:
    """Return a model with weights drawn from the member's seed, its embeddings tied to the head.

    Args:
        member: `model_type`, `objective`, `seed` and the sizes by transformers' names.
        tokenizer: Of transformers; it gives the vocabulary and the special tokens.
    """
    config = AutoConfig.for_model(
        member["model_type"],
        vocab_size=len(tokenizer),
        hidden_size=member["hidden_size"],
        num_hidden_layers=member["num_hidden_layers"],
        num_attention_heads=member["num_attention_heads"],
        max_position_embeddings=member["max_length"],
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
        **{_FEED_FORWARD.get(member["model_type"], "intermediate_size"): _feed_forward(member)},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(member["seed"], "init"))
        model = HEADS[member["objective"]].from_config(config, attn_implementation="sdpa")
    return cast(nn.Module, model)


def _feed_forward(member: Member) -> int:
    return int(member["intermediate_size"])
