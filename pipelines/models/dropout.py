"""Dropout whose mask is drawn in one way on every device, so that it can be drawn again alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def dropout_mask(
    shape: Sequence[int], p: float, device: torch.device, generator: torch.Generator | None = None
) -> Tensor:
    """Return a mask of zeros and `1 / (1 - p)`, drawn in the order of its elements.

    Args:
        shape: Of the mask.
        p: The probability of a zero, below 1.
        device: Where it lies.
        generator: Where random numbers come from, by default the device's own stream; the same
            seed gives the same mask either way.
    """
    return torch.empty(*shape, device=device).bernoulli_(1 - p, generator=generator).div_(1 - p)


class DrawnDropout(nn.Dropout):
    """As `nn.Dropout`, bitwise the same on a CPU."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name for it
        """Return the input with some elements zero, or as it is in evaluation."""
        if not self.training or self.p == 0:
            return input
        return input * dropout_mask(input.shape, self.p, input.device).to(input.dtype)


def adapter_dropouts(model: nn.Module) -> list[nn.Module]:
    """Return the dropout of a model's adapters: all that training switches on of such a model.

    A base with adapters is a fixed function as any frozen part is, even around the adapters.
    """
    return [part for part in model.modules() if isinstance(part, DrawnDropout)]
