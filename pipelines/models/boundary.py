"""Cuts a model between two layers: what the lower part gives, once; the upper part by itself.

Knows no method and no task. What lies below the cut must not change and must not draw random
numbers, else a kept activation would not be what the whole model gives.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.models.anatomy import layers_of
from pipelines.models.backbone import last_hidden
from pipelines.training.loop import Rows

MASK = "attention_mask"
BOUNDARY = "boundary"
"""In a batch: what goes into the first layer above the cut."""


class Inputs(Protocol):
    """Rows of a split as the model takes them."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def batch(self, rows: Rows) -> dict[str, Tensor]:
        """Return the model's inputs for some rows."""

    def by_length(self, batch_size: int) -> Iterable[Rows]:
        """Yield all rows in batches that are cheap to run."""


class Activations:
    """What the lower part of a model gives for every row, without padding.

    Args:
        pieces: For each row `(length, width)`, or `(channels, height, width)` of an image.
        is_ragged: Whether rows differ in length, and are padded a batch at a time.
    """

    def __init__(self, pieces: Sequence[Tensor], *, is_ragged: bool) -> None:
        self._is_ragged = is_ragged
        if not is_ragged:
            self._whole = torch.stack(list(pieces))
            return
        self._lengths = np.array([len(piece) for piece in pieces])
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._whole = torch.cat(list(pieces))  # (tokens of all rows, width)

    @property
    def num_bytes(self) -> int:
        """How much memory they take."""
        return self._whole.numel() * self._whole.element_size()

    def batch(self, rows: Rows) -> Tensor:
        """Return the activations of some rows, `(batch, longest, width)`, zero where padded."""
        if not self._is_ragged:
            return self._whole[torch.as_tensor(rows)]
        lengths = self._lengths[rows]
        padded = self._whole.new_zeros(len(rows), int(lengths.max()), self._whole.shape[1])
        for place, (start, length) in enumerate(zip(self._starts[rows], lengths, strict=True)):
            padded[place, :length] = self._whole[start : start + length]
        return padded


class _Reached(Exception):  # noqa: N818 - it ends a forward pass early, and is no error
    pass


@torch.no_grad()  # not inference mode: they are trained on
def activations(
    backbone: nn.Module, inputs: Inputs, depths: Iterable[int], batch_size: int
) -> dict[int, Activations]:
    """Return what goes into the layers of some depths, by depth, from one pass over all rows.

    Args:
        backbone: The model, in eval mode.
        inputs: The rows.
        depths: How many layers lie below each cut, from 0; each less than there are layers.
        batch_size: Rows in one pass.
    """
    _, layers = layers_of(backbone)
    wanted = sorted(set(depths))
    pieces: dict[int, list[Any]] = {depth: [None] * len(inputs) for depth in wanted}
    seen: dict[int, Tensor] = {}

    def note(depth: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen[depth] = args[0] if args else kwargs["hidden_states"]
            if depth == wanted[-1]:
                raise _Reached  # what lies above is not asked for

        return hook

    hooks = [layers[d].register_forward_pre_hook(note(d), with_kwargs=True) for d in wanted]
    is_ragged = False
    try:
        for rows in inputs.by_length(batch_size):
            batch = inputs.batch(rows)
            with contextlib.suppress(_Reached):
                last_hidden(backbone, batch)
            is_ragged = MASK in batch
            lengths = batch[MASK].sum(1).tolist() if is_ragged else None
            for depth, hidden in seen.items():
                for place, row in enumerate(rows):
                    piece = hidden[place, : lengths[place]] if lengths else hidden[place]
                    pieces[depth][row] = piece.clone()
    finally:
        for hook in hooks:
            hook.remove()
    return {depth: Activations(part, is_ragged=is_ragged) for depth, part in pieces.items()}


def cut_below(backbone: nn.Module, depth: int) -> None:
    """Let a model begin above its lowest layers; these stay in it under their names, unused.

    From then on it is called with one more keyword, :data:`BOUNDARY`: the activations that go
    into its first layer. It returns what the whole model would.

    Args:
        backbone: The model; it is changed.
        depth: How many layers lie below the cut, less than there are.
    """
    name, layers = layers_of(backbone)
    parent, _, last = name.rpartition(".")
    setattr(backbone.get_submodule(parent), last, _Above(layers, depth))
    given: list[Tensor] = []

    def take(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given[:] = [kwargs[BOUNDARY]]
        return args, {key: value for key, value in kwargs.items() if key != BOUNDARY}

    def replace(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (given[0], *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": given[0]}

    backbone.register_forward_pre_hook(take, with_kwargs=True)
    layers[depth].register_forward_pre_hook(replace, with_kwargs=True)


class _Above(nn.ModuleList):
    """A list of layers that shows those above a depth, and keeps the names of all."""

    def __init__(self, layers: nn.ModuleList, depth: int) -> None:
        self._depth = 0
        super().__init__(layers)
        self._depth = depth

    def __len__(self) -> int:
        return len(self._modules) - self._depth

    def __iter__(self) -> Iterator[nn.Module]:
        return iter(self._shown())

    def __getitem__(self, index: int | slice) -> Any:
        return self._shown()[index]

    def _shown(self) -> list[nn.Module]:
        return list(self._modules.values())[self._depth :]
