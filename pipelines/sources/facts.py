"""The nouns for what a plan must know of a model; not how it is found out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What can be said of a model without its weights."""

    modality: Literal["text", "image"]
    """What it takes."""
    is_causal: bool
    """Whether a token sees only those before it: a decoder."""
    is_encoder_decoder: bool = False
    """Whether it is two models in one, of which one reads and the other writes."""
    num_layers: int
    """Repeated layers; the stages of a convolutional network; 0 where there is no such list."""
    has_linear_layers: bool
    """Whether there are linear maps inside the layers."""
    has_attention: bool
    """Whether some of these linear maps belong to attention."""
    has_first_token: bool
    """Whether the first token stands for the whole input, as `[CLS]` does."""
    max_length: int | None
    """Tokens that it takes at most, by its configuration; None where that sets no limit."""
    can_fill_masks: bool
    """Whether transformers has a masked-language-modelling head for it."""
    can_generate: bool
    """Whether transformers has a causal-language-modelling head for it, and it is a decoder."""
