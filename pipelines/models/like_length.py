"""Runs a padded batch in parts of like length, to pad less; knows no method and no task."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from pipelines.models.backbone import last_hidden

Rows = npt.NDArray[np.int64]

PASS_COST = 64
"""What a further pass costs, in tokens of padding that could be computed instead. Of 16, 32, 64
and 128 it made steps of all-MiniLM-L6-v2 as short as any other, 0.63 of one pass, in few parts."""


def last_hidden_in_parts(backbone: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the last layer as :func:`last_hidden` does, `(batch, length, width)`.

    On a CPU, whose time goes by the number of tokens, a batch of texts of unlike lengths is cut
    into parts, each padded to its own longest text. The mathematics are those of the whole batch,
    as no text sees another one or its padding; sums come in another order, and so do the draws of
    dropout. An accelerator, which waits for passes rather than tokens, takes the batch whole.

    Args:
        backbone: The model.
        batch: Its inputs, padded on the right; `attention_mask` says how far.
    """
    mask = batch.get("attention_mask")
    if mask is None or mask.device.type != "cpu":
        return last_hidden(backbone, batch)
    lengths = mask.sum(1).numpy()
    parts = parts_of_like_length(lengths, PASS_COST)
    if len(parts) == 1:
        return last_hidden(backbone, batch)
    hidden = []
    for rows, longest in _embedded_once(backbone, batch, parts, lengths):
        part = {
            # What has no place for each token, as the numbers of words, is not the model's.
            name: tensor[rows, :longest] if tensor.shape[:2] == mask.shape else tensor
            for name, tensor in batch.items()
        }
        hidden.append(F.pad(last_hidden(backbone, part), (0, 0, 0, mask.shape[1] - longest)))
    places = np.argsort(np.concatenate(parts))
    return torch.cat(hidden)[torch.from_numpy(places)]


def parts_of_like_length(lengths: Rows, cost: float) -> list[Rows]:
    """Return the rows of a batch in parts: each is cut in two while that saves more than it costs.

    Args:
        lengths: Tokens of each row, `(batch,)`.
        cost: Of a further part, in tokens.
    """
    left, parts = [np.argsort(lengths, kind="stable")], []
    while left:
        rows = left.pop()
        own = lengths[rows]
        sizes = np.arange(1, len(rows))  # of the shorter texts
        saved = sizes * (own[-1] - own[:-1])
        if len(saved) and saved.max() > cost:
            at = int(sizes[saved.argmax()])
            left += [rows[:at], rows[at:]]
        else:
            parts.append(rows)
    return parts


def _embedded_once(
    backbone: nn.Module, batch: Mapping[str, Tensor], parts: list[Rows], lengths: Rows
) -> Iterator[tuple[Rows, int]]:
    """Yield the parts and their lengths; tokens are looked up for the whole batch at once.

    For each look-up adds a gradient as large as the table, which would cost more than padding.
    """
    whole: dict[nn.Module, Tensor] = {}
    place: tuple[Any, ...] = ()

    def look_up(table: nn.Module, args: tuple[Any, ...], own: Tensor) -> Tensor:
        if not args or not torch.equal(args[0], batch["input_ids"][place]):
            return own
        if table not in whole:
            whole[table] = table.forward(batch["input_ids"])
        return whole[table][place]

    with contextlib.ExitStack() as hooks:
        for module in backbone.modules():
            if isinstance(module, nn.Embedding) and module.weight.requires_grad:
                hooks.enter_context(module.register_forward_hook(look_up))
        for rows in parts:
            longest = int(lengths[rows].max())
            place = (torch.from_numpy(rows), slice(longest))
            yield rows, longest
