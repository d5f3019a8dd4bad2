"""The one training loop of all methods: AdamW, schedule, clipping, curve; knows no model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from pipelines.contract import DivergedError
from pipelines.seeding import stream_seed

Rows = npt.NDArray[np.int64]
"""Numbers of rows in a split, `(batch,)`."""


class Examples(Protocol):
    """Labelled rows, given a batch at a time."""

    labels: Tensor
    """`(rows,)` class indices, or standardised real numbers."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def batch(self, rows: Rows) -> Any:
        """Return the inputs of some rows."""

    def in_order(self) -> Iterator[Rows]:
        """Yield all rows in batches fit for inference, in any order."""


@dataclass(frozen=True, kw_only=True)
class Learner:
    """What is trained: a forward pass and its groups of weights."""

    forward: Callable[[Any], Tensor]
    """Inputs of a batch -> `(batch, outputs)`."""
    module: nn.Module
    """Holds every weight; switched between training and evaluation."""
    groups: Sequence[Mapping[str, Any]]
    """AdamW's groups: `params`, and `lr` where it is not the trial's learning rate."""


def train(
    learner: Learner, train_set: Examples, validation_set: Examples, params: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Train and return the curve, a point an epoch.

    Args:
        learner: What to train; its weights are changed in place.
        train_set: The rows to learn from.
        validation_set: The rows whose loss the curve shows.
        params: The fields of `TrainingParams`, and `seed`.

    Raises:
        DivergedError: The loss is no longer finite.
    """
    batch_size = params["batch_size"]
    num_batches = math.ceil(len(train_set) / batch_size)
    num_steps = params["epochs"] * num_batches
    optimizer = torch.optim.AdamW(
        [dict(group) for group in learner.groups],
        lr=params["learning_rate"],
        weight_decay=params["weight_decay"],
        fused=True,
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, num_steps, params)
    )
    weights = [weight for group in learner.groups for weight in group["params"]]
    order = np.random.default_rng(stream_seed(params["seed"], "order"))
    torch.manual_seed(stream_seed(params["seed"], "dropout"))
    curve = []
    for epoch in range(1, params["epochs"] + 1):
        learner.module.train()
        permutation = order.permutation(len(train_set))
        total_loss = torch.zeros((), device=train_set.labels.device)
        for start in range(0, len(train_set), batch_size):
            rows = permutation[start : start + batch_size]
            loss = loss_of(learner.forward(train_set.batch(rows)), train_set.labels[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            if params["max_grad_norm"]:
                nn.utils.clip_grad_norm_(weights, params["max_grad_norm"])
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad(set_to_none=True)
            total_loss += loss.detach() * len(rows)
        train_loss = float(total_loss) / len(train_set)
        if not math.isfinite(train_loss):
            raise DivergedError(f"the training loss is {train_loss} in epoch {epoch}")
        outputs = predict(learner, validation_set)
        curve.append(
            {
                "step": epoch * num_batches,
                "epoch": epoch,
                "train_loss": train_loss,
                "validation_loss": float(loss_of(outputs, validation_set.labels)),
            }
        )
    return curve


def learning_rate_factor(step: int, num_steps: int, params: Mapping[str, Any]) -> float:
    """Return the part of the full learning rate at a step, from 0 to 1.

    The shapes are those of transformers' `get_scheduler`.
    """
    num_warmup = math.ceil(num_steps * params["warmup_ratio"])
    if step < num_warmup:
        return float(step / num_warmup)
    if params["schedule"] == "constant":
        return 1.0
    done = (step - num_warmup) / max(1, num_steps - num_warmup)
    if params["schedule"] == "cosine":
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return float(max(0.0, 1 - done))


def loss_of(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the mean loss: cross-entropy of classes, squared error of real numbers.

    Args:
        outputs: `(batch, classes)`, or `(batch, 1)` for real numbers.
        labels: `(batch,)`.
    """
    if labels.is_floating_point():
        return F.mse_loss(outputs.squeeze(-1), labels)
    return F.cross_entropy(outputs, labels)


@torch.inference_mode()
def predict(learner: Learner, examples: Examples) -> Tensor:
    """Return the outputs `(rows, outputs)` of all rows, in their order."""
    learner.module.eval()
    outputs: Tensor | None = None
    for rows in examples.in_order():
        batch = learner.forward(examples.batch(rows))
        if outputs is None:
            outputs = batch.new_empty((len(examples), batch.shape[1]))
        outputs[torch.as_tensor(rows, device=outputs.device)] = batch
    if outputs is None:
        raise ValueError("there is nothing to predict")
    return outputs
