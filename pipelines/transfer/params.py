"""The params of every transfer method, their defaults and bounds; imports no torch."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

DEFAULT_POOLING: Final = "mean"
"""The pooling of which tasks that label words take no notice."""


class DataParams(BaseModel):
    """What every method takes from the task."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True
    )

    train_size: int | None = Field(default=None, ge=1)
    """Training rows; by default all. A smaller subset is part of a larger one."""
    validation_size: int | None = Field(default=None, ge=1)
    """Validation rows; by default a tenth of those left for training."""
    test_size: int | None = Field(default=None, ge=1)
    """Test rows; by default all that the task holds out."""
    max_length: int = Field(default=128, ge=4, le=131_072)
    """Tokens kept of each text; what is longer is cut."""


class TrainingParams(DataParams):
    """What the training loop takes, whatever it trains."""

    learning_rate: float = Field(gt=0)
    """AdamW's step size at the top of the schedule."""
    epochs: int = Field(ge=1, le=100_000)
    """Passes over the training rows."""
    batch_size: int = Field(default=32, ge=1)
    """Rows in one optimizer step."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled weight decay."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls after warm-up: to zero, or not at all."""
    warmup_ratio: float = Field(default=0.0, ge=0, lt=1)
    """Part of all steps over which the learning rate rises from zero."""
    max_grad_norm: float = Field(default=1.0, ge=0)
    """The gradient is scaled down to this norm; 0 leaves it."""
    patience: int | None = Field(default=None, ge=1)
    """Training stops after so many epochs without a better validation loss, and keeps the weights
    of the best one; by default it goes on to the end."""


class ProbeParams(TrainingParams):
    """A linear head on the features of the frozen model: deep feature extraction."""

    method: Literal["probe"] = "probe"
    """The transfer method."""
    pooling: Literal["mean", "cls", "max"] = DEFAULT_POOLING
    """How the last layer's token features become one vector a text."""
    learning_rate: float = Field(default=1e-2, gt=0)
    """AdamW's step size at the top of the schedule."""
    epochs: int = Field(default=20, ge=1, le=100_000)
    """Passes over the training rows."""


class FinetuningParams(TrainingParams):
    """What the methods take that train weights of the model itself."""

    pooling: Literal["mean", "cls", "max"] = DEFAULT_POOLING
    """How the last layer's token features become one vector a text."""
    learning_rate: float = Field(default=5e-5, gt=0)
    """AdamW's step size at the top of the schedule."""
    head_learning_rate: float | None = Field(default=None, gt=0)
    """The head's own step size; by default that of the model."""
    epochs: int = Field(default=3, ge=1, le=100_000)
    """Passes over the training rows."""
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    """Part of all steps over which the learning rate rises from zero."""
    gradient_accumulation_steps: int = Field(default=1, ge=1)
    """Batches whose gradients are added up for one optimizer step."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the forward pass; `auto` is bf16 on an accelerator that has it, else fp32."""


class FullParams(FinetuningParams):
    """Every weight of the model is trained, together with a new linear head."""

    method: Literal["full"] = "full"
    """The transfer method."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """The learning rate of each layer is that of the layer above times this."""


class PartialParams(FinetuningParams):
    """The lowest layers stay frozen, the rest is trained: mid-level extraction."""

    method: Literal["partial"] = "partial"
    """The transfer method."""
    frozen_layers: float = Field(default=0.5, ge=0)
    """Layers that stay frozen with all below them: a count, or a fraction below 1."""


class ScratchParams(FinetuningParams):
    """The same architecture with fresh weights: shows what pre-training gave."""

    method: Literal["scratch"] = "scratch"
    """The transfer method."""


class LoraParams(FinetuningParams):
    """Low-rank adapters in the frozen model are trained, together with a new linear head."""

    method: Literal["lora"] = "lora"
    """The transfer method."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """AdamW's step size at the top of the schedule."""
    rank: int = Field(default=8, ge=1)
    """The rank of the adapters."""
    alpha: float = Field(default=16, gt=0)
    """The adapters' output is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the adapters."""
    target_modules: Literal["attention", "all-linear"] = "attention"
    """Which linear maps of the layers are adapted."""


METHODS: dict[str, type[TrainingParams]] = {
    "probe": ProbeParams,
    "partial": PartialParams,
    "full": FullParams,
    "lora": LoraParams,
    "scratch": ScratchParams,
}
"""The transfer methods by name."""
