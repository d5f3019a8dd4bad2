"""The params of the pipeline `pretrain`, their defaults and bounds; imports no torch."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from pipelines.transfer.params import TrainingParams

OBJECTIVES = {"bert": "masked", "modernbert": "masked", "gpt2": "causal", "llama": "causal"}
"""The objective of every architecture; the first with an objective is its default."""
SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>", "<mask>")
"""Tokens that stand for no text, by their numbers."""
MIN_VOCABULARY = 256 + len(SPECIAL_TOKENS)
"""Every byte is a token, so that no text is without tokens."""


class PretrainParams(TrainingParams):
    """A fresh model trained on unlabelled text."""

    corpus: str | dict[str, Any]
    """The text to learn from: a task of the catalogue, whose training split is taken, or a file,
    folder, package or data set of one's own, by its source or as a mapping."""
    objective: Literal["masked", "causal"] = "masked"
    """Hidden tokens are predicted from both sides, or each next one from those before it."""
    mask_ratio: float = Field(default=0.15, gt=0, lt=1)
    """The part of the tokens that is hidden, where `objective` is masked."""
    vocab_size: int = Field(default=8000, ge=MIN_VOCABULARY, le=1_000_000)
    """Tokens of the byte-level BPE tokenizer that is trained on the corpus, at most."""
    model_type: Literal["bert", "modernbert", "gpt2", "llama"] | None = None
    """The architecture, by transformers' name; by default `bert` for masked, `gpt2` for causal."""
    num_hidden_layers: int = Field(default=4, ge=1, le=1000)
    """Layers."""
    hidden_size: int = Field(default=256, ge=2, le=65_536)
    """The width of the model: features of each token."""
    num_attention_heads: int = Field(default=4, ge=1, le=1024)
    """Heads of attention; they divide `hidden_size`."""
    intermediate_size: int | None = Field(default=None, ge=1)
    """The width inside the feed-forward part of a layer; by default 4 times `hidden_size`."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """AdamW's step size at the top of the schedule."""
    epochs: int = Field(default=10, ge=1, le=100_000)
    """Passes over the blocks of the corpus."""
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    """Part of all steps over which the learning rate rises from zero."""
    gradient_accumulation_steps: int = Field(default=1, ge=1)
    """Batches whose gradients are added up for one optimizer step."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the forward pass; `auto` is bf16 on an accelerator that has it, else fp32."""
    max_length: int = Field(default=128, ge=4, le=131_072)
    """Tokens in a block, and the most that the model takes."""
    batch_size: int = Field(default=32, ge=1)
    """Blocks in one pass."""

    @property
    def architecture(self) -> str:
        """The architecture by transformers' name."""
        chosen = self.model_type
        return chosen or next(n for n, aim in OBJECTIVES.items() if aim == self.objective)
