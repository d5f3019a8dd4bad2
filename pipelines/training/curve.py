"""The learning curve of one training; knows how many steps it has, not what is trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

NUM_LOSS_POINTS = 20
"""Points of the training loss on a curve: enough to see its shape, few enough to keep for
thousands of trials."""


@dataclass
class Curve:
    """What a training of so many optimizer steps shows of itself; plain data that JSON takes."""

    num_steps: int
    """Steps of the whole training, by which the points of the loss are spread."""
    points: list[dict[str, Any]] = field(default_factory=list)
    """`{"step", "train_loss"}` and, for each epoch, `{"step", "epoch", "validation_loss"}`."""
    loss_sum: float = 0.0
    """Training loss since the last point, summed over targets."""
    num_targets: int = 0

    def add_step(self, step: int, losses: Sequence[float], num_targets: int) -> None:
        """Take a step, counted from 1.

        Args:
            step: Which.
            losses: The loss of each of its batches, summed over targets.
            num_targets: How many targets they have together.
        """
        for loss in losses:
            self.loss_sum += loss
        self.num_targets += num_targets
        if step % math.ceil(self.num_steps / NUM_LOSS_POINTS) == 0 or step == self.num_steps:
            train_loss = self.loss_sum / self.num_targets
            self.points.append({"step": step, "train_loss": train_loss})
            self.loss_sum, self.num_targets = 0.0, 0

    def add_epoch(self, step: int, epoch: int, validation_loss: float) -> None:
        """Take the validation loss after an epoch, counted from 1, that ended with a step."""
        self.points.append({"step": step, "epoch": epoch, "validation_loss": validation_loss})
