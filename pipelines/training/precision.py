"""Which arithmetic a forward pass has, where it is left to the machine."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def precision_on(device: str, wanted: str) -> torch.dtype:
    """Return the precision on a device: `auto` is bf16 on an accelerator that has it, else fp32.

    Args:
        device: torch's name of it.
        wanted: `auto`, `fp32` or `bf16`.
    """
    if wanted == "auto":
        has_bf16 = device != "cpu" and torch.cuda.is_bf16_supported(including_emulation=False)
        wanted = "bf16" if has_bf16 else "fp32"
    return torch.bfloat16 if wanted == "bf16" else torch.float32


def arithmetic(precision: torch.dtype, device: str) -> AbstractContextManager[Any]:
    """Return the context of a forward pass: single precision, or mixed where it is `bfloat16`."""
    return nullcontext() if precision is torch.float32 else torch.autocast(device, dtype=precision)
