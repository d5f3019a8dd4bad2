"""Cuts a model between two layers: what the lower part gives, once; the upper part by itself.

Knows no method and no task. What lies below the cut must not change and must not draw random
numbers, else a kept activation would not be what the whole model gives.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.models.anatomy import layers_of
from pipelines.models.backbone import last_hidden
from pipelines.models.distinct_rows import Inputs, distinct_batches
from pipelines.training.learner import Rows

MASK = "attention_mask"
BOUNDARY = "boundary"
"""In a batch: what goes into the first layer above the cut."""


class Activations:
    """What goes into a layer for each of some rows, without padding."""

    def __init__(self) -> None:
        self._pieces: list[Tensor] = []  # of a row each, views of what was added
        self.num_bytes = 0
        """What they take."""

    def add(self, hidden: Tensor, mask: Tensor | None) -> None:
        """Keep those of further rows.

        Args:
            hidden: `(batch, length, width)`, or `(batch, channels, height, width)` of images.
            mask: `(batch, length)`, 1 where there is a token; None where nothing is padded.
        """
        if mask is None:
            self._pieces += hidden.unbind()
            self.num_bytes += hidden.nbytes
            return
        tokens = hidden[mask.bool()]  # (tokens of all rows, width)
        self._pieces += torch.split(tokens, mask.sum(1).tolist())
        self.num_bytes += tokens.nbytes

    def batch(self, rows: Rows) -> Tensor:
        """Return the activations of some rows, `(batch, longest, width)`, zero where padded."""
        return nn.utils.rnn.pad_sequence([self._pieces[row] for row in rows], batch_first=True)


class _Reached(Exception):  # noqa: N818 - it ends a forward pass early, and is no error
    pass


@torch.no_grad()  # not inference mode: they are trained on
def into_layers(
    backbone: nn.Module, batch: Mapping[str, Tensor], depths: Collection[int]
) -> dict[int, Tensor]:
    """Return what goes into the layers of some depths, `(batch, length, width)` each.

    Args:
        backbone: The model, in eval mode.
        batch: Its inputs.
        depths: How many layers lie below each cut, from 0; each less than there are layers.
    """
    _, layers = layers_of(backbone)
    seen: dict[int, Tensor] = {}

    def note(depth: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            # A copy, because what lies above may work in place.
            seen[depth] = (args[0] if args else kwargs["hidden_states"]).clone()
            if depth == max(depths):
                raise _Reached  # what lies above is not asked for

        return hook

    hooks = [layers[d].register_forward_pre_hook(note(d), with_kwargs=True) for d in depths]
    try:
        with contextlib.suppress(_Reached):
            last_hidden(backbone, batch)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def activations(
    backbone: nn.Module,
    splits: Sequence[Inputs],
    depths: Collection[int],
    batch_size: int,
    max_gib: float = math.inf,
) -> tuple[dict[int, Activations], list[Rows]]:
    """Return what goes into the layers of some depths, from one pass over the distinct rows.

    Args:
        backbone: The model, in eval mode.
        splits: The rows; one that several splits have goes through the model once, and is kept
            once.
        depths: As for :func:`into_layers`.
        batch_size: Rows in one pass.
        max_gib: How much memory the activations may take. Where all take more, those of the
            lowest depths, which spare the least, are let go.

    Returns:
        The activations by depth, of those that fit, and for each split where its rows are in them.
    """
    kept = {depth: Activations() for depth in depths}
    places: dict[bytes, int] = {}
    for split, rows, keys in distinct_batches(splits, batch_size):
        batch = split.batch(rows)
        for depth, hidden in into_layers(backbone, batch, kept).items():
            kept[depth].add(hidden, batch.get(MASK))
        while kept and sum(each.num_bytes for each in kept.values()) > max_gib * 2**30:
            del kept[min(kept)]
        if not kept:
            return {}, []
        places |= {key: len(places) + place for place, key in enumerate(keys)}
    rows_of = [split.keys() for split in splits]
    return kept, [np.array([places[key] for key in keys], dtype=np.int64) for keys in rows_of]


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
