"""Many linear heads trained side by side in batched tensors; knows no model and no task.

Each head goes through the mathematics of the one loop (`pipelines.training.loop`): its own batch
order, schedule, clipping, AdamW state, curve and early stopping. Only the order of some
floating-point sums differs, so a head is `equal` to the one that is trained alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from pipelines.contract import DivergedError
from pipelines.seeding import stream_seed
from pipelines.training.curve import NUM_LOSS_POINTS
from pipelines.training.learner import Rows
from pipelines.training.loop import learning_rate_factors, not_finite

GATHERED_BYTES = 16 << 20
"""Features of one step, of all heads together: more than the caches hold makes a step slower."""
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
"""AdamW's constants, as torch and the one loop have them."""


class FeatureRows(Protocol):
    """Rows of frozen features, shared by all heads that are given the same object."""

    features: Tensor
    """`(outputs, width)`."""
    labels: Tensor
    """`(outputs,)` class indices, or standardised real numbers."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def places(self, rows: Rows) -> Rows:
        """Return the numbers of the outputs of some rows."""


@dataclass(kw_only=True)
class Head:
    """One head: what it starts from, and what it comes to."""

    params: Mapping[str, Any]
    """Those of `pipelines.training.loop.train`."""
    linear: nn.Linear
    """The initial weights; the final ones after training."""
    train: FeatureRows
    validation: FeatureRows
    curve: list[dict[str, Any]] = field(default_factory=list)
    """As `pipelines.training.loop.train` returns it."""
    error: DivergedError | None = None
    """Why there are no final weights."""


def train_heads(heads: Sequence[Head]) -> None:
    """Train all heads, each as if it were alone."""
    for group in _alike(heads):
        size = _num_at_once(group[0])
        for start in range(0, len(group), size):
            _Cohort(group[start : start + size]).train()


def _alike(heads: Sequence[Head]) -> Iterator[list[Head]]:
    """Yield heads whose epochs have the same shape: same data, batch size and outputs."""

    def key(head: Head) -> tuple[int, ...]:
        size = head.params["batch_size"]
        return (id(head.train), id(head.validation), size, head.linear.out_features)

    for _, group in groupby(sorted(heads, key=key), key):
        # Those that train for longest last: the others leave, and nobody waits for them.
        yield sorted(group, key=lambda head: int(head.params["epochs"]))


def _num_at_once(head: Head) -> int:
    rows = min(int(head.params["batch_size"]), len(head.train))
    outputs = rows * math.ceil(len(head.train.labels) / len(head.train))
    return max(1, GATHERED_BYTES // (outputs * head.linear.in_features * 4))


class _Cohort:
    """Heads in lockstep: they take each step together, and leave at the end of an epoch."""

    def __init__(self, heads: Sequence[Head]) -> None:
        first = heads[0]
        self._members = [_Member(head) for head in heads]
        self._train = first.train
        self._validation = first.validation
        self._features = _with_ones(first.train.features)
        weights = [torch.cat([h.linear.weight, h.linear.bias[:, None]], 1) for h in heads]
        self._w = torch.stack(weights).detach()  # (heads, outputs, width + 1)
        self._state = [torch.zeros_like(self._w), torch.zeros_like(self._w)]
        self._best = self._w.clone()
        self._gathered = self._features.new_empty(0, 0)

    def train(self) -> None:
        """Train until the last head has left."""
        step = 0
        while self._members:
            step = self._epoch(step)
            self._validate(step)
            self._let_go([not member.is_done() for member in self._members])

    def _epoch(self, step: int) -> int:
        places, sizes = _stacked([member.next_epoch(self._train) for member in self._members])
        device = self._features.device
        index, counts = torch.from_numpy(places).to(device), torch.from_numpy(sizes).to(device)
        rates = self._per_step("learning_rate", index.shape[1], step).to(device)
        decays, norms = self._each("weight_decay"), self._each("max_grad_norm")
        losses = torch.empty(index.shape[1], len(self._members), device=device)
        for batch in range(index.shape[1]):
            gradient, losses[batch] = self._gradient(index[:, batch], counts[:, batch])
            step += 1
            self._update(_clipped(gradient, norms), rates[batch], decays, step)
        seen = losses.cpu().numpy()  # of all at once: an accelerator waits for each reading
        for number, member in enumerate(self._members):
            member.note_losses(seen[:, number], sizes[number])
        return step

    def _gradient(self, index: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient `(heads, outputs, width + 1)` and the mean loss `(heads,)`.

        Args:
            index: `(heads, batch)` places; what is beyond a head's count is padding.
            counts: `(heads,)`.
        """
        # Into one buffer, because fresh memory for every step takes three times as long.
        size = (index.numel(), self._features.shape[1])
        if self._gathered.shape != size:
            self._gathered = self._features.new_empty(size)
        torch.index_select(self._features, 0, index.flatten(), out=self._gathered)
        x = self._gathered.view(*index.shape, -1)  # (heads, batch, width + 1)
        outputs = torch.bmm(x, self._w.transpose(1, 2))
        targets = self._train.labels[index]
        padding = torch.arange(index.shape[1], device=index.device) >= counts[:, None]
        losses = each_loss(outputs, targets).masked_fill(padding, 0)
        delta = _slopes(outputs, targets).masked_fill(padding[:, :, None], 0)
        delta /= counts[:, None, None]
        return torch.bmm(delta.transpose(1, 2), x), losses.sum(1) / counts

    def _update(self, gradient: Tensor, rates: Tensor, decays: Tensor, step: int) -> None:
        """Take AdamW's step `step`, counted from 1, with each head's own rate and decay.

        Source: I. Loshchilov and F. Hutter, Decoupled Weight Decay Regularization, 2019.
        """
        mean, square = self._state
        mean.lerp_(gradient, 1 - BETA_1)
        square.mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
        self._w.mul_((1 - rates * decays)[:, None, None])
        spread = square.sqrt().div_(math.sqrt(1 - BETA_2**step)).add_(EPSILON)
        self._w.sub_(mean.div(spread).mul_((rates / (1 - BETA_1**step))[:, None, None]))

    def _validate(self, step: int) -> None:
        rows = self._validation
        outputs = _with_ones(rows.features) @ self._w.flatten(0, 1).T
        outputs = outputs.view(len(rows.labels), len(self._members), -1).transpose(0, 1)
        targets = rows.labels.expand(len(self._members), -1)
        losses = each_loss(outputs, targets).mean(1).cpu()
        better = [
            member.note_validation(step, float(loss))
            for member, loss in zip(self._members, losses, strict=True)
        ]
        self._best[better] = self._w[better]

    def _let_go(self, stay: list[bool]) -> None:
        if all(stay):
            return
        for number, member in enumerate(self._members):
            if not stay[number]:
                keeps_best = member.head.params.get("patience") is not None
                member.finish((self._best if keeps_best else self._w)[number])
        self._members = [m for m, stays in zip(self._members, stay, strict=True) if stays]
        self._w, self._best = self._w[stay], self._best[stay]
        self._state = [part[stay] for part in self._state]

    def _each(self, name: str) -> Tensor:
        values = [float(member.head.params[name]) for member in self._members]
        return torch.tensor(values, device=self._features.device)

    def _per_step(self, name: str, num_steps: int, done: int) -> Tensor:
        """Return `(steps, heads)` learning rates of the coming epoch."""
        rates = [m.factors[done : done + num_steps] * m.head.params[name] for m in self._members]
        return torch.tensor(np.stack(rates, axis=1), dtype=torch.float32)


class _Member:
    """What is one head's own: its random stream, its schedule, its curve."""

    def __init__(self, head: Head) -> None:
        self.head = head
        params = head.params
        steps_per_epoch = math.ceil(len(head.train) / params["batch_size"])
        self.num_steps = params["epochs"] * steps_per_epoch
        self.factors = learning_rate_factors(self.num_steps, params)
        self._order = np.random.default_rng(stream_seed(params["seed"], "order"))
        self._epoch = 0
        self._best_loss, self._best_epoch = math.inf, 0
        self._losses: list[np.ndarray] = []
        self._counts: list[np.ndarray] = []
        self._validations: list[dict[str, Any]] = []

    def next_epoch(self, rows: FeatureRows) -> list[Rows]:
        """Return the places of each batch of the coming epoch."""
        order = self._order.permutation(len(rows))
        size = self.head.params["batch_size"]
        return [rows.places(order[i : i + size]) for i in range(0, len(order), size)]

    def note_losses(self, losses: np.ndarray, counts: np.ndarray) -> None:
        """Take the mean losses of an epoch's steps, and the number of targets in each."""
        self._losses.append(losses)
        self._counts.append(counts)
        lost = np.flatnonzero(~np.isfinite(losses))
        if len(lost):
            before = sum(map(len, self._losses[:-1]))
            self.head.error = not_finite(before + int(lost[0]) + 1, self._epoch + 1)

    def note_validation(self, step: int, loss: float) -> bool:
        """Take the validation loss after an epoch; return whether it is the best so far."""
        self._epoch += 1
        point = {"step": step, "epoch": self._epoch, "validation_loss": loss}
        self._validations.append(point)
        if loss < self._best_loss:
            self._best_loss, self._best_epoch = loss, self._epoch
            return True
        return False

    def is_done(self) -> bool:
        """Return whether the head has learnt enough, or cannot learn any more."""
        patience = self.head.params.get("patience")
        waited = self._epoch - self._best_epoch
        return (
            self.head.error is not None
            or self._epoch >= self.head.params["epochs"]
            or (patience is not None and waited >= patience)
        )

    def finish(self, weights: Tensor) -> None:
        """Write the final weights `(outputs, width + 1)` and the curve into the head."""
        with torch.no_grad():
            self.head.linear.weight.copy_(weights[:, :-1])
            self.head.linear.bias.copy_(weights[:, -1])
        points = [*self._loss_points(), *self._validations]
        # Sorting is stable: at the same step the training loss stays before the validation.
        self.head.curve = sorted(points, key=lambda point: int(point["step"]))

    def _loss_points(self) -> list[dict[str, Any]]:
        losses, counts = np.concatenate(self._losses), np.concatenate(self._counts)
        every = math.ceil(self.num_steps / NUM_LOSS_POINTS)
        ends = [s for s in range(1, len(losses) + 1) if s % every == 0 or s == self.num_steps]
        starts = [0, *ends[:-1]]
        sums = losses.astype(np.float64) * counts
        return [
            {"step": end, "train_loss": float(sums[start:end].sum() / counts[start:end].sum())}
            for start, end in zip(starts, ends, strict=True)
        ]


def _stacked(epochs: Sequence[Sequence[Rows]]) -> tuple[Rows, Rows]:
    """Return places `(heads, steps, longest)`, padded, and their numbers `(heads, steps)`."""
    counts = np.array([[len(places) for places in batches] for batches in epochs])
    index = np.zeros((*counts.shape, counts.max()), dtype=np.int64)
    for head, batches in enumerate(epochs):
        for step, places in enumerate(batches):
            index[head, step, : len(places)] = places
    return index, counts


def _with_ones(features: Tensor) -> Tensor:
    """Return the features with a column of ones, whose weight is the bias."""
    return F.pad(features, (0, 1), value=1.0)


def _clipped(gradient: Tensor, max_norms: Tensor) -> Tensor:
    """Scale each head's gradient down to its own norm, as `clip_grad_norm_`; 0 leaves it."""
    norms = gradient.flatten(1).norm(dim=1)
    factors = (max_norms / (norms + 1e-6)).clamp(max=1.0)
    factors = torch.where(max_norms > 0, factors, torch.ones_like(factors))
    return gradient.mul_(factors[:, None, None])


def each_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return `(heads, batch)` losses of `(heads, batch, outputs)`."""
    if targets.is_floating_point():
        return (outputs.squeeze(-1) - targets).square()
    return F.cross_entropy(outputs.transpose(1, 2), targets, reduction="none")


def _slopes(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the derivatives of the losses by the outputs, `(heads, batch, outputs)`."""
    if targets.is_floating_point():
        return 2 * (outputs - targets.unsqueeze(-1))
    slopes = outputs.softmax(-1)
    return slopes.scatter_add_(2, targets.unsqueeze(-1), slopes.new_full((*targets.shape, 1), -1.0))
