"""The params of every transfer method, their defaults and bounds; imports no torch."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import ConfigDict, Field

from pipelines.schema import Schema, TestSize, TrainSize, ValidationSize
from pipelines.transfer.adapt_params import AdaptFields
from pipelines.transfer.teacher_params import Teacher

DEFAULT_POOLING: Final = "mean"
"""The pooling of which tasks that label words take no notice."""


class DataParams(Schema):
    """What every method takes from the task."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True
    )

    train_size: TrainSize = None
    """Training rows: a count, a fraction of those there are, or `N per class`; by default all.
    A smaller subset is part of a larger one of the same form."""
    validation_size: ValidationSize = None
    """Validation rows: a count, or a fraction; by default a tenth of those left for training."""
    test_size: TestSize = None
    """Test rows: a count, or a fraction; by default all that the task holds out."""
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
    frozen_layers: float = Field(default=0, ge=0)
    """Lowest layers that get no adapters: a count, or a fraction below 1."""


class DistillParams(FinetuningParams):
    """Every weight is trained, on a teacher's scores as well as on the labels."""

    method: Literal["distill"] = "distill"
    """The transfer method."""
    teacher: Teacher
    """Who teaches: another trial of the same task and seed, by its method's name or by a mapping
    of `model` (by default the student's), `method` and that method's params; or a saved model
    that classifies, by its source."""
    temperature: float = Field(default=2.0, gt=0)
    """The scores of teacher and student are divided by it before they are compared."""
    teacher_weight: float = Field(default=0.5, ge=0, le=1)
    """The part of the loss that comes from the teacher; the rest comes from the labels."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """The learning rate of each layer is that of the layer above times this."""


class AdaptProbeParams(AdaptFields, ProbeParams):
    """Pre-training goes on with texts of the domain; then as `probe`."""

    method: Literal["adapt+probe"] = "adapt+probe"  # type: ignore[assignment]
    """The transfer method."""


class AdaptPartialParams(AdaptFields, PartialParams):
    """Pre-training goes on with texts of the domain; then as `partial`."""

    method: Literal["adapt+partial"] = "adapt+partial"  # type: ignore[assignment]
    """The transfer method."""


class AdaptFullParams(AdaptFields, FullParams):
    """Pre-training goes on with texts of the domain; then as `full`."""

    method: Literal["adapt+full"] = "adapt+full"  # type: ignore[assignment]
    """The transfer method."""


class AdaptLoraParams(AdaptFields, LoraParams):
    """Pre-training goes on with texts of the domain; then as `lora`."""

    method: Literal["adapt+lora"] = "adapt+lora"  # type: ignore[assignment]
    """The transfer method."""


METHODS: dict[str, type[TrainingParams]] = {
    "probe": ProbeParams,
    "partial": PartialParams,
    "full": FullParams,
    "lora": LoraParams,
    "scratch": ScratchParams,
    "distill": DistillParams,
    "adapt+probe": AdaptProbeParams,
    "adapt+partial": AdaptPartialParams,
    "adapt+full": AdaptFullParams,
    "adapt+lora": AdaptLoraParams,
}
"""The transfer methods by name."""
