"""Low-rank adapters of several members side by side in one frozen model; knows no task.

In a batch the rows of a member stand together, and all members have as many. The maps of the
frozen model run over all rows at once, the adapters as batched products, one a member, with zeros
up to the largest rank: these have no gradient, so they stay zero. No sum goes over two members.

Source of the adapters: E. J. Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipelines.models.dropout import dropout_mask


class NotSharedError(Exception):
    """The model mixes the rows of a batch, so its members cannot share one."""


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """What is a member's own besides its weights."""

    scale: float
    """By which the output of its adapters is multiplied: alpha / rank."""
    dropout: float
    """Dropout before its adapters."""
    generator: torch.Generator
    """Where its random numbers come from."""


class LoraBank:
    """The adapters of all linear maps of a model, for whichever members are at work.

    Args:
        backbone: The frozen model; the maps are replaced in place.
        names: The linear maps to adapt.
        sizes: The inputs and outputs of each map.
        rank: The largest rank of any member.
    """

    def __init__(
        self, backbone: nn.Module, names: Sequence[str], sizes: Sequence[tuple[int, int]], rank: int
    ) -> None:
        self._shapes = [s for i, o in sizes for s in ((rank, i), (o, rank))]
        self._sizes = [first * second for first, second in self._shapes]
        self._parts: list[Tensor] = []
        self._scales = torch.empty(0)
        self._adapters: Sequence[Adapter] = ()
        self._lengths: list[int] | None = None
        self._longest = 0
        self._num_rows = 0
        self._draws = False
        for number, name in enumerate(names):
            parent, _, last = name.rpartition(".")
            mapped = _Adapted(backbone.get_submodule(name), self, number)
            setattr(backbone.get_submodule(parent), last, mapped)

    def packed(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Return a member's weights `(weights,)` from the A and B of each map."""
        parts = []
        for weight, shape in zip([w for pair in pairs for w in pair], self._shapes, strict=True):
            whole = weight.new_zeros(shape)
            whole[: weight.shape[0], : weight.shape[1]] = weight.detach()
            parts.append(whole.flatten())
        return torch.cat(parts)

    def unpack(self, row: Tensor, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Write a member's weights `(weights,)` into the A and B of each map."""
        parts = torch.split(row, self._sizes)
        weights = [weight for pair in pairs for weight in pair]
        for weight, part, shape in zip(weights, parts, self._shapes, strict=True):
            weight.copy_(part.view(shape)[: weight.shape[0], : weight.shape[1]])

    def use(
        self,
        weights: Tensor,
        adapters: Sequence[Adapter],
        num_rows: int,
        mask: Tensor | None,
        *,
        draws: bool,
    ) -> None:
        """Set what the next batch is for.

        Args:
            weights: `(members, weights)`.
            adapters: Of the members, in this order.
            num_rows: Rows of each member.
            mask: `(members * num_rows, length)` of the batch, 1 where there is a token; None where
                all rows have one length.
            draws: Whether dropout is on; each member's is as if it were alone.
        """
        flat = torch.split(weights, self._sizes, dim=1)
        self._parts = [
            part.view(len(part), *shape) for part, shape in zip(flat, self._shapes, strict=True)
        ]
        self._adapters, self._num_rows = adapters, num_rows
        scales = [adapter.scale for adapter in adapters]
        self._scales = torch.tensor(scales, device=weights.device)[:, None, None]
        self._draws = draws and any(adapter.dropout for adapter in adapters)
        self._lengths = None
        if self._draws and mask is not None:
            per_row = mask.view(len(adapters), num_rows, -1).sum(2)
            self._lengths, self._longest = per_row.amax(1).tolist(), mask.shape[1]

    def update(self, number: int, x: Tensor) -> Tensor:
        """Return what the adapters of a map add to its output.

        Args:
            number: Which map.
            x: `(members * rows, ..., inputs)`.

        Returns:
            `(members * rows, ..., outputs)`.
        """
        members = len(self._adapters)
        if x.shape[0] % (members * self._num_rows):
            raise NotSharedError(f"a map takes {x.shape[0]} rows in a batch of {self._num_rows}")
        down, up = self._parts[2 * number], self._parts[2 * number + 1]
        inputs = x.to(down.dtype)
        if self._draws:
            inputs = inputs * self._dropped(inputs.shape, inputs.device)
        rows = inputs.reshape(members, -1, x.shape[-1])
        low = torch.bmm(rows, down.transpose(1, 2)) * self._scales  # (members, tokens, rank)
        return torch.bmm(low, up.transpose(1, 2)).view(*x.shape[:-1], -1)

    def _dropped(self, shape: torch.Size, device: torch.device) -> Tensor:
        masks = torch.ones(shape, device=device)
        for place, adapter in enumerate(self._adapters):
            if not adapter.dropout:
                continue
            own = masks.view(len(self._adapters), -1, *shape[1:])[place]
            if self._lengths is not None and shape[1] == self._longest:
                own = own[:, : self._lengths[place]]  # alone there would be no more padding
            own.copy_(dropout_mask(own.shape, adapter.dropout, device, adapter.generator))
        return masks


class _Adapted(nn.Module):
    """A frozen linear map and its adapters."""

    def __init__(self, base: nn.Module, bank: LoraBank, number: int) -> None:
        super().__init__()
        self.base = base
        self._bank = bank
        self._number = number

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.base(x)
        return result + self._bank.update(self._number, x).to(result.dtype)
