"""The params of going on pre-training before a method; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import ConfigDict, Field

from pipelines.schema import Schema

PREFIX = "adapt_"
"""Begins the names of these params, in which they differ from those of the method itself."""
LOOP: Mapping[str, Any] = MappingProxyType(
    {
        "weight_decay": 0.01,
        "schedule": "linear",
        "warmup_ratio": 0.1,
        "max_grad_norm": 1.0,
        "precision": "auto",
    }
)
"""What the training loop takes besides."""


class AdaptFields(Schema):
    """How the model is adapted to a domain before it is transferred."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True
    )

    adapt_corpus: str | None = Field(default=None, min_length=1)
    """Where the texts come from: a file, a task or a data set, in any form of `source`; by default
    they are the task's own training texts, whatever `train_size` is."""
    adapt_size: int | None = Field(default=None, ge=1)
    """How many of these texts are read; by default all of them."""
    adapt_epochs: int = Field(default=5, ge=1, le=100_000)
    """Passes over the texts."""
    adapt_learning_rate: float = Field(default=1e-4, gt=0)
    """AdamW's step size after a tenth of the steps; it falls to zero in a line."""
    adapt_batch_size: int = Field(default=32, ge=1)
    """Blocks in one optimizer step."""
    adapt_max_length: int = Field(default=128, ge=4, le=131_072)
    """Tokens in a block: the texts are joined and cut into blocks of this length."""
    adapt_mask_ratio: float = Field(default=0.15, gt=0, lt=1)
    """Part of the tokens that an encoder has to guess; a decoder predicts each next one."""
    adapt_seed: int = Field(default=0, ge=0)
    """Draws what is hidden, the order of the blocks and the dropout. It is not the seed of the
    trial, so that all trials share one adapted model."""
