"""What is trained and on what, and how good it is; not how it is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from pipelines.training.precision import arithmetic

Rows = npt.NDArray[np.int64]
"""Numbers of rows in a split, or of labels, `(batch,)`."""


class Targets(Protocol):
    """What the outputs of a batch should be, where that is more than a label each."""

    def __len__(self) -> int:
        """Return the number of outputs."""

    def loss(self, outputs: Tensor) -> Tensor:
        """Return the mean loss of `(outputs, width)`."""


class Examples(Protocol):
    """Rows to learn from, given a batch at a time; a row has one output or several."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def begin_epoch(self, epoch: int) -> None:
        """Draw anew what changes from epoch to epoch, numbered from 0."""

    def batch(self, rows: Rows) -> tuple[Any, Tensor | Targets]:
        """Return the inputs of some rows, and the targets in the order of the batch's outputs.

        Targets are `(outputs,)` class indices or standardised real numbers, or know their loss.
        """

    def in_order(self) -> Iterator[Rows]:
        """Yield all rows in batches fit for inference, in any order."""


class LabelledExamples(Examples, Protocol):
    """Examples of which every output has a label and a place of its own."""

    labels: Tensor
    """`(outputs,)` class indices, or standardised real numbers."""

    def places(self, rows: Rows) -> Rows:
        """Return which of the labels belong to some rows, in the order of the batch's outputs."""


FROZEN = "is_frozen"
"""An attribute of a module without weights, as dropout, that belongs to what is frozen."""


@dataclass(frozen=True, kw_only=True)
class Learner:
    """What is trained: a forward pass and its groups of weights."""

    forward: Callable[[Any], Tensor]
    """Inputs of a batch -> `(batch, outputs)`."""
    module: nn.Module
    """Holds every weight; switched between training and evaluation."""
    groups: Sequence[Mapping[str, Any]]
    """AdamW's groups: `params`, and `lr` where it is not the trial's learning rate."""
    precision: torch.dtype = torch.float32
    """`bfloat16` runs the forward pass in mixed precision."""
    switched: Sequence[nn.Module] | None = None
    """The only parts that training switches on; by default all that hold no frozen weights only."""

    def outputs(self, batch: Any) -> Tensor:
        """Return `(batch, outputs)` in single precision."""
        device = next(self.module.parameters()).device.type
        with arithmetic(self.precision, device):
            return self.forward(batch).float()

    def begin_training(self) -> None:
        """Switch to training what is trained; frozen parts stay as in evaluation.

        A frozen part is a fixed function: it gives the same features for the same row each time,
        without dropout, and the statistics that batch normalisation keeps do not move.
        """
        if self.switched is not None:
            self.module.eval()
            for part in self.switched:
                part.train()
            return
        self.module.train()
        for part in self.module.modules():
            weights = list(part.parameters())
            is_frozen = bool(weights) and not any(weight.requires_grad for weight in weights)
            if is_frozen or getattr(part, FROZEN, False):
                part.eval()

    def trainable(self) -> dict[str, Tensor]:
        """Return the weights that training changes, and all buffers, by name."""
        weights = {name: w for name, w in self.module.named_parameters() if w.requires_grad}
        return weights | dict(self.module.named_buffers())


def loss_of(outputs: Tensor, targets: Tensor | Targets) -> Tensor:
    """Return the mean loss: cross-entropy of classes, squared error of real numbers.

    Args:
        outputs: `(outputs, classes)`, or `(outputs, 1)` for real numbers.
        targets: `(outputs,)`, or what knows its loss.
    """
    if not isinstance(targets, Tensor):
        return targets.loss(outputs)
    if targets.is_floating_point():
        return F.mse_loss(outputs.squeeze(-1), targets)
    return F.cross_entropy(outputs, targets)


@torch.inference_mode()
def mean_loss(learner: Learner, examples: Examples) -> float:
    """Return the mean loss over the targets of all rows."""
    learner.module.eval()
    losses, counts = [], []
    for rows in examples.in_order():
        inputs, targets = examples.batch(rows)
        losses.append(loss_of(learner.outputs(inputs), targets))
        counts.append(len(targets))
    loss_sum = 0.0
    # Read at the end only, because an accelerator waits whenever a number is read.
    for loss, count in zip(torch.stack(losses).tolist(), counts, strict=True):
        loss_sum += loss * count
    return loss_sum / sum(counts)


@torch.inference_mode()
def predict(learner: Learner, examples: LabelledExamples) -> Tensor:
    """Return the outputs of all rows, in the order of the labels: `(labels, outputs)`."""
    learner.module.eval()
    outputs: Tensor | None = None
    for rows in examples.in_order():
        batch = learner.outputs(examples.batch(rows)[0])
        if outputs is None:
            outputs = batch.new_empty((len(examples.labels), batch.shape[1]))
        outputs[torch.as_tensor(examples.places(rows), device=outputs.device)] = batch
    if outputs is None:
        raise ValueError("there is nothing to predict")
    return outputs
