# Copyright the fanflare authors. Licensed under the Apache License, Version 2.0:
# https://www.apache.org/licenses/LICENSE-2.0
"""The models that exports are: a backbone and a linear head; knows torch and transformers only.

This file lies beside the weights in every export, so that it loads where fanflare is not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import (
    ImageClassifierOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)


class BackboneConfig(PreTrainedConfig):  # type: ignore[misc] # transformers has no types
    """The configuration of a backbone below a linear head."""

    def __init__(self, backbone: dict[str, Any] | None = None, **kwargs: Any) -> None:
        self.backbone = backbone or {}
        """The backbone's own configuration, `model_type` among it."""
        super().__init__(**kwargs)


class PooledTextConfig(BackboneConfig):
    """How the token features of the backbone become one vector."""

    model_type = "fanflare-pooled-text"

    def __init__(
        self, backbone: dict[str, Any] | None = None, pooling: str = "mean", **kwargs: Any
    ) -> None:
        self.pooling = pooling
        """`mean`, `cls` (the first token) or `max`."""
        super().__init__(backbone, **kwargs)


class PooledImageConfig(PooledTextConfig):
    """How the features of the patches, or the feature map, become one vector."""

    model_type = "fanflare-pooled-image"


class TokenTaggerConfig(BackboneConfig):
    """Nothing but the backbone: every token keeps its own features."""

    model_type = "fanflare-token-tagger"


class BackboneWithHead(PreTrainedModel):  # type: ignore[misc] # transformers has no types
    """A backbone of any architecture, and a linear head on its last layer."""

    config_class = BackboneConfig
    base_model_prefix = "backbone"
    _supports_sdpa = True

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__(config)
        inner = AutoConfig.for_model(**config.backbone)
        self.backbone = AutoModel.from_config(inner)
        sizes = getattr(inner, "hidden_sizes", None)
        self.head = nn.Linear(sizes[-1] if sizes else inner.hidden_size, config.num_labels)
        self.post_init()


class PooledTextClassifier(BackboneWithHead):
    """A head on the pooled last layer: logits of classes, or a number in its own unit."""

    config_class = PooledTextConfig

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **inputs: Any,
    ) -> SequenceClassifierOutput:
        """Return the logits `(batch, labels)`, and the loss where labels are given."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        hidden = self.backbone(input_ids=input_ids, attention_mask=mask, **inputs)[0]
        logits = self.head(pooled(hidden, mask, self.config.pooling))
        loss = None
        if labels is not None and self.config.problem_type == "regression":
            loss = F.mse_loss(logits.squeeze(-1), labels.to(logits.dtype))
        elif labels is not None:
            loss = F.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class PooledImageClassifier(BackboneWithHead):
    """A head on the pooled last layer of a vision model: logits of classes."""

    config_class = PooledImageConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)

    def forward(
        self, pixel_values: Tensor, labels: Tensor | None = None, **inputs: Any
    ) -> ImageClassifierOutput:
        """Return the logits `(batch, labels)`, and the loss where labels are given."""
        hidden = self.backbone(pixel_values=pixel_values, **inputs)[0]
        if hidden.ndim == 4:  # a feature map, (batch, width, rows, columns)
            is_max = self.config.pooling == "max"
            features = hidden.amax(dim=(2, 3)) if is_max else hidden.mean(dim=(2, 3))
        else:
            features = pooled(hidden, hidden.new_ones(hidden.shape[:2]), self.config.pooling)
        logits = self.head(features)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)


class TokenTagger(BackboneWithHead):
    """A head on every token; the first token of a word speaks for it."""

    config_class = TokenTaggerConfig

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **inputs: Any,
    ) -> TokenClassifierOutput:
        """Return the logits `(batch, length, labels)`, and the loss where labels are not -100."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        hidden = self.backbone(input_ids=input_ids, attention_mask=mask, **inputs)[0]
        logits = self.head(hidden)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return TokenClassifierOutput(loss=loss, logits=logits)


def pooled(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Reduce token features `(batch, length, width)` to `(batch, width)`."""
    if pooling == "cls":
        return hidden[:, 0]
    weights = mask.unsqueeze(-1).to(hidden.dtype)  # (batch, length, 1)
    if pooling == "max":
        return hidden.masked_fill(weights == 0, float("-inf")).amax(dim=1)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


PooledTextConfig.register_for_auto_class()
PooledTextClassifier.register_for_auto_class("AutoModelForSequenceClassification")
PooledImageConfig.register_for_auto_class()
PooledImageClassifier.register_for_auto_class("AutoModelForImageClassification")
TokenTaggerConfig.register_for_auto_class()
TokenTagger.register_for_auto_class("AutoModelForTokenClassification")
