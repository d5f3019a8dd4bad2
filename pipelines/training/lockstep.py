"""Trainings that take every step together, each with its own everything; knows no model.

All weights of a member are one row of a matrix. Each goes through the mathematics of the one loop
(`pipelines.training.loop`): its own batch order, schedule, clipping, AdamW state, curve and early
stopping, so a member is `equal` to the one that is trained alone. Members leave at the end of an
epoch, and the others go on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pipelines.contract import DivergedError
from pipelines.seeding import stream_seed
from pipelines.training.curve import Curve
from pipelines.training.heads import BETA_1, BETA_2, EPSILON
from pipelines.training.learner import Rows
from pipelines.training.loop import learning_rate_factors, not_finite


class Members(Protocol):
    """What the members have in common: a forward pass over the rows of all of them."""

    def num_targets(self, rows: Rows) -> int:
        """Return how many outputs some training rows have."""

    def losses(self, weights: Tensor, members: Sequence[int], rows: Sequence[Rows]) -> Tensor:
        """Return the mean training loss of each, `(members,)`.

        Args:
            weights: `(members, weights)`.
            members: Which they are.
            rows: The rows of each; all have as many.
        """

    def validation_losses(self, weights: Tensor, members: Sequence[int]) -> Tensor:
        """Return the mean validation loss `(members,)`."""


@dataclass(frozen=True, kw_only=True)
class Left:
    """Members that have left at the same time."""

    members: list[int]
    weights: Tensor
    """`(members, weights)`."""
    curves: list[list[dict[str, Any]]]
    errors: list[DivergedError | None]
    """Why there are no final weights."""


@dataclass(frozen=True, kw_only=True)
class _Pace:
    """The members' own numbers for the steps of an epoch, on the device before the first of them.

    A number that a step brought along would be waited for, until all that was begun is done.
    """

    max_norms: Tensor
    """`(members,)`."""
    decays: Tensor
    """`(members,)`."""
    rates: Mapping[str, Tensor]
    """`(steps, members)`, by the param that gives them."""


class Lockstep:
    """Trains all members.

    Args:
        members: The params of each, as `pipelines.training.loop.train` takes them. They have the
            same `batch_size` and `gradient_accumulation_steps`.
        weights: `(members, weights)`, what they start from.
        num_head: The last weights, which learn at `head_learning_rate`.
        num_rows: Training rows.
    """

    def __init__(
        self, members: Sequence[Mapping[str, Any]], weights: Tensor, num_head: int, num_rows: int
    ) -> None:
        self._weights = weights.detach().clone().requires_grad_()
        self._state = [torch.zeros_like(weights), torch.zeros_like(weights)]
        self._best = weights.detach().clone()
        self._num_rows = num_rows
        self._batch_size = int(members[0]["batch_size"])
        self._accumulated = int(members[0].get("gradient_accumulation_steps", 1))
        num_batches = math.ceil(num_rows / self._batch_size)
        self._steps_per_epoch = math.ceil(num_batches / self._accumulated)
        self._members = [
            _Member(number, params, self._steps_per_epoch) for number, params in enumerate(members)
        ]
        adapters = weights.shape[1] - num_head
        self._columns = {
            "learning_rate": slice(0, adapters),
            "head_learning_rate": slice(adapters, None),
        }

    def train(self, shared: Members) -> Iterator[Left]:
        """Train until the last member has left."""
        step = 0
        while self._members:
            step = self._epoch(step, shared)
            losses = shared.validation_losses(self._weights.detach(), self._numbers()).tolist()
            better = [
                m.note_epoch(step, loss) for m, loss in zip(self._members, losses, strict=True)
            ]
            self._best[better] = self._weights.detach()[better]
            yield from self._let_go()

    def _numbers(self) -> list[int]:
        return [member.number for member in self._members]

    def _epoch(self, step: int, shared: Members) -> int:
        orders = [member.order.permutation(self._num_rows) for member in self._members]
        size = self._batch_size
        starts = range(0, self._num_rows, size)
        losses, counts = [], []
        pace = self._pace(step)
        for index in range(self._steps_per_epoch):
            own = starts[index * self._accumulated : (index + 1) * self._accumulated]
            batches = [[order[start : start + size] for order in orders] for start in own]
            counts.append([[shared.num_targets(rows) for rows in batch] for batch in batches])
            losses.append(self._backward(shared, batches, counts[-1]))
            rates = {name: table[index] for name, table in pace.rates.items()}
            self._update(step + index + 1, pace, rates)
        # Read at the end only, because an accelerator waits whenever a number is read.
        flat = iter(torch.cat(losses).tolist())
        for index, step_counts in enumerate(counts):
            sums = [
                [loss * count for loss, count in zip(next(flat), batch, strict=True)]
                for batch in step_counts
            ]
            for place, member in enumerate(self._members):
                member.note_step(
                    step + index + 1,
                    [batch[place] for batch in sums],
                    sum(batch[place] for batch in step_counts),
                )
        return step + self._steps_per_epoch

    def _backward(
        self,
        shared: Members,
        batches: Sequence[Sequence[Rows]],
        counts: Sequence[Sequence[int]],
    ) -> Tensor:
        """Leave the gradient of the mean over the targets of all batches.

        Returns:
            `(batches, members)` mean losses.
        """
        self._weights.grad = None
        parts = torch.tensor(counts, dtype=torch.float32)
        parts = (parts / parts.sum(0)).to(self._weights.device)
        losses = []
        for rows, part in zip(batches, parts, strict=True):
            loss = shared.losses(self._weights, self._numbers(), rows)
            (loss * part).sum().backward()
            losses.append(loss.detach())
        return torch.stack(losses)

    def _pace(self, done: int) -> _Pace:
        """Return the members' numbers for the epoch that begins after `done` steps."""
        steps = range(done + 1, done + 1 + self._steps_per_epoch)
        device = self._weights.device
        return _Pace(
            max_norms=torch.tensor(
                [float(m.params["max_grad_norm"]) for m in self._members], device=device
            ),
            decays=torch.tensor(
                [float(m.params["weight_decay"]) for m in self._members], device=device
            ),
            rates={
                name: torch.tensor(
                    [[m.rate(name, step) for m in self._members] for step in steps], device=device
                )
                for name in self._columns
            },
        )

    @torch.no_grad()
    def _update(self, step: int, pace: _Pace, rates: Mapping[str, Tensor]) -> None:
        """Take AdamW's step `step`, counted from 1, with each member's own rates.

        Source: I. Loshchilov and F. Hutter, Decoupled Weight Decay Regularization, 2019.
        """
        gradient = self._weights.grad
        assert gradient is not None
        norms = gradient.norm(dim=1)
        limits = pace.max_norms
        factors = torch.where(limits > 0, (limits / (norms + 1e-6)).clamp(max=1.0), 1.0)
        gradient.mul_(factors[:, None])
        mean, square = self._state
        mean.lerp_(gradient, 1 - BETA_1)
        square.mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
        spread = square.sqrt().div_(math.sqrt(1 - BETA_2**step)).add_(EPSILON)
        change = torch.div(mean, spread, out=spread)
        for name, columns in self._columns.items():
            part = self._weights[:, columns]
            part.mul_((1 - rates[name] * pace.decays)[:, None])
            part.sub_(change[:, columns] * (rates[name] / (1 - BETA_1**step))[:, None])

    def _let_go(self) -> Iterator[Left]:
        stay = [not member.is_done() for member in self._members]
        if all(stay):
            return
        gone = [place for place, stays in enumerate(stay) if not stays]
        weights = [
            (self._weights if self._members[p].params.get("patience") is None else self._best)[p]
            for p in gone
        ]
        leaving = [self._members[place] for place in gone]
        self._members = [m for m, stays in zip(self._members, stay, strict=True) if stays]
        self._weights = self._weights.detach()[stay].requires_grad_()
        self._best = self._best[stay]
        self._state = [part[stay] for part in self._state]
        yield Left(
            members=[member.number for member in leaving],
            weights=torch.stack(weights).detach(),
            curves=[member.curve.points for member in leaving],
            errors=[member.error for member in leaving],
        )


class _Member:
    """What is one member's own: its random stream, its schedule, its curve."""

    def __init__(self, number: int, params: Mapping[str, Any], steps_per_epoch: int) -> None:
        self.number = number
        self.params = params
        self.order = np.random.default_rng(stream_seed(params["seed"], "order"))
        self.curve = Curve(params["epochs"] * steps_per_epoch)
        self.error: DivergedError | None = None
        self._factors = learning_rate_factors(self.curve.num_steps, params)
        self._epoch = 0
        self._best_loss, self._best_epoch = math.inf, 0

    def rate(self, name: str, step: int) -> float:
        """Return the learning rate of a step, counted from 1."""
        full = self.params.get(name) or self.params["learning_rate"]
        return float(self._factors[step - 1]) * float(full)

    def note_step(self, step: int, losses: Sequence[float], num_targets: int) -> None:
        """Take a step: the loss of each of its batches, summed over targets, and their number."""
        if self.error is None and not all(map(math.isfinite, losses)):
            self.error = not_finite(step, self._epoch + 1)
        self.curve.add_step(step, losses, num_targets)

    def note_epoch(self, step: int, loss: float) -> bool:
        """Take the validation loss after an epoch; return whether it is the best so far."""
        self._epoch += 1
        self.curve.add_epoch(step, self._epoch, loss)
        if loss < self._best_loss:
            self._best_loss, self._best_epoch = loss, self._epoch
            return True
        return False

    def is_done(self) -> bool:
        """Return whether the member has learnt enough, or cannot learn any more."""
        patience = self.params.get("patience")
        waited = self._epoch - self._best_epoch
        return (
            self.error is not None
            or self._epoch >= self.params["epochs"]
            or (patience is not None and waited >= patience)
        )
