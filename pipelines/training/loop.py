"""The one training loop of all methods: AdamW, schedule, clipping, curve; knows no model."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipelines.contract import Checkpoint, DivergedError
from pipelines.seeding import stream_seed
from pipelines.training.curve import Curve
from pipelines.training.learner import Examples, Learner, Rows, loss_of, mean_loss

RANDOM, RANDOM_ON_DEVICE = "random", "random/device"
"""In a checkpoint: the states of the host's random stream, and of the accelerator's."""


@dataclass
class _Position:
    """Where training stands; with weights, optimizer, curves and random streams it is all."""

    step: int = 0
    """Optimizer steps taken."""
    epoch: int = 0
    """Epochs finished."""
    batch: int = 0
    """Batches of the running epoch that are done."""
    best_loss: float = math.inf
    best_epoch: int = 0


def train(
    learner: Learner,
    train_set: Examples,
    validation_set: Examples,
    params: Mapping[str, Any],
    checkpoint: Checkpoint | None = None,
) -> list[dict[str, Any]]:
    """Train and return the curve.

    Args:
        learner: What to train; its weights are changed in place.
        train_set: The rows to learn from.
        validation_set: The rows whose loss the curve shows, and by which training stops early.
        params: The fields of `TrainingParams`, and `seed`.
        checkpoint: Where to go on from, and where to save; training that was cut goes on to
            the same weights, bit for bit on a CPU.

    Returns:
        Points `{"step", "train_loss"}` and, for each epoch, `{"step", "epoch",
        "validation_loss"}`. With `patience` the weights of the best epoch are left in place.

    Raises:
        DivergedError: The loss is no longer finite.
    """
    whole = (params["epochs"],)
    *_, (_, curve) = train_for(whole, learner, train_set, validation_set, params, checkpoint)
    return curve


def train_for(
    epochs: Collection[int],
    learner: Learner,
    train_set: Examples,
    validation_set: Examples,
    params: Mapping[str, Any],
    checkpoint: Checkpoint | None = None,
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Train once and stop over after several numbers of epochs, as if each were the last.

    That is so bit for bit where neither the schedule nor early stopping looks at the total, and
    whoever looks at the learner meanwhile draws no random numbers.

    Args:
        epochs: After how many epochs to stop over; the most of them are those of `params`.
        learner: As for :func:`train`, as what follows.
        train_set: The rows to learn from.
        validation_set: The rows whose loss the curve shows.
        params: The fields of `TrainingParams`, and `seed`.
        checkpoint: Where to go on from; what an earlier attempt has passed is not given again.

    Yields:
        A number of epochs and its curve, while the learner has the weights that belong to it.

    Raises:
        DivergedError: The loss is no longer finite.
    """
    run = _Training(learner, train_set, validation_set, params, epochs)
    if checkpoint is not None and (saved := checkpoint.load()) is not None:
        run.restore(*saved)
    last = params["epochs"]
    while not run.is_done():
        run.epoch(checkpoint)
        if run.at.epoch < last and run.at.epoch in run.curves:
            yield run.at.epoch, run.curves.pop(run.at.epoch).points
    run.keep_best()
    yield last, run.curves[last].points


class _Training:
    """One training, from its first step or from a checkpoint to its last."""

    def __init__(
        self,
        learner: Learner,
        train_set: Examples,
        validation_set: Examples,
        params: Mapping[str, Any],
        lengths: Collection[int],
    ) -> None:
        self._learner = learner
        self._device = next(learner.module.parameters()).device
        self._train_set = train_set
        self._validation_set = validation_set
        self._params = params
        self._accumulated = params.get("gradient_accumulation_steps", 1)
        self._num_batches = math.ceil(len(train_set) / params["batch_size"])
        steps_per_epoch = math.ceil(self._num_batches / self._accumulated)
        self._factors = learning_rate_factors(params["epochs"] * steps_per_epoch, params)
        self.curves = {epochs: Curve(epochs * steps_per_epoch) for epochs in lengths}
        self._optimizer = torch.optim.AdamW(
            [dict(group) for group in learner.groups],
            lr=params["learning_rate"],
            weight_decay=params["weight_decay"],
            fused=True,
        )
        for group in self._optimizer.param_groups:
            group["full_lr"] = group["lr"]
        self._weights = [weight for group in learner.groups for weight in group["params"]]
        self._order = np.random.default_rng(stream_seed(params["seed"], "order"))
        self._order_state = self._order.bit_generator.state
        self._best: dict[str, Tensor] = {}
        self.at = _Position()
        torch.manual_seed(stream_seed(params["seed"], "dropout"))

    def is_done(self) -> bool:
        """Return whether all epochs are over, or the best one is too long ago."""
        patience = self._params.get("patience")
        waited = self.at.epoch - self.at.best_epoch
        return self.at.epoch >= self._params["epochs"] or (
            patience is not None and waited >= patience
        )

    def epoch(self, checkpoint: Checkpoint | None) -> None:
        """Train the rest of the running epoch, then look at the validation rows."""
        self._learner.begin_training()
        self._train_set.begin_epoch(self.at.epoch)
        self._order_state = self._order.bit_generator.state
        permutation = self._order.permutation(len(self._train_set))
        batch_size = self._params["batch_size"]
        while self.at.batch < self._num_batches:
            group = range(self.at.batch, min(self.at.batch + self._accumulated, self._num_batches))
            batches = [permutation[i * batch_size : (i + 1) * batch_size] for i in group]
            self._step(batches)
            self.at.batch = group.stop
            if checkpoint is not None and checkpoint.is_due():
                checkpoint.save(*self.snapshot())
        self.at.batch = 0
        self.at.epoch += 1
        self._validate()

    def _step(self, batches: Sequence[Rows]) -> None:
        """Take one optimizer step on the mean loss over the targets of all batches."""
        for group in self._optimizer.param_groups:
            group["lr"] = float(self._factors[self.at.step]) * group["full_lr"]
        pairs = [self._train_set.batch(rows) for rows in batches]
        num_targets = sum(len(targets) for _, targets in pairs)
        losses = []
        for inputs, targets in pairs:
            loss = loss_of(self._learner.outputs(inputs), targets) * (len(targets) / num_targets)
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(float(loss.detach()) * num_targets)
        if not all(map(math.isfinite, losses)):
            raise not_finite(self.at.step + 1, self.at.epoch + 1)
        if self._params["max_grad_norm"]:
            nn.utils.clip_grad_norm_(self._weights, self._params["max_grad_norm"])
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.at.step += 1
        for curve in self.curves.values():
            curve.add_step(self.at.step, losses, num_targets)

    def _validate(self) -> None:
        loss = mean_loss(self._learner, self._validation_set)
        for curve in self.curves.values():
            curve.add_epoch(self.at.step, self.at.epoch, loss)
        if loss < self.at.best_loss:
            self.at.best_loss, self.at.best_epoch = loss, self.at.epoch
            if self._params.get("patience") is not None:
                self._best = {n: w.detach().clone() for n, w in self._learner.trainable().items()}

    def keep_best(self) -> None:
        """Put the weights of the best epoch in place, where training may stop early."""
        with torch.no_grad():
            for name, weight in self._learner.trainable().items():
                if name in self._best:
                    weight.copy_(self._best[name])

    def snapshot(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return everything from which training can go on: arrays, and plain data."""
        state = self._optimizer.state_dict()["state"]
        tensors = {f"weight/{n}": w for n, w in self._learner.trainable().items()}
        tensors |= {f"best/{n}": w for n, w in self._best.items()}
        tensors |= {
            f"optimizer/{index}/{name}": value
            for index, values in state.items()
            for name, value in values.items()
        }
        tensors |= _random_states(self._device)
        arrays = {name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}
        curves = {str(epochs): vars(curve) for epochs, curve in self.curves.items()}
        return arrays, {"at": vars(self.at), "order": self._order_state, "curves": curves}

    def restore(self, arrays: Mapping[str, np.ndarray], value: Mapping[str, Any]) -> None:
        """Go back to where a snapshot was taken."""
        trainable = self._learner.trainable()
        state: dict[int, dict[str, Tensor]] = {}
        with torch.no_grad():
            for key, array in arrays.items():
                kind, _, name = key.partition("/")
                tensor = torch.from_numpy(np.array(array))
                if kind == "weight":
                    trainable[name].copy_(tensor)
                elif kind == "best":
                    self._best[name] = tensor.to(trainable[name].device)
                elif kind == "optimizer":
                    index, _, part = name.partition("/")
                    state.setdefault(int(index), {})[part] = tensor
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})
        torch.set_rng_state(torch.from_numpy(np.array(arrays[RANDOM])))
        if self._device.type == "cuda" and RANDOM_ON_DEVICE in arrays:
            own = torch.from_numpy(np.array(arrays[RANDOM_ON_DEVICE]))
            torch.cuda.set_rng_state(own, self._device)
        self._order.bit_generator.state = value["order"]
        self.at = _Position(**value["at"])
        # What the earlier attempt did not follow, or is past, cannot be followed any more.
        curves = value["curves"]
        self.curves = {n: Curve(**curves[str(n)]) for n in self.curves if str(n) in curves}


def _random_states(device: torch.device) -> dict[str, Tensor]:
    """Return the streams from which a training on a device draws: an accelerator has its own."""
    states = {RANDOM: torch.get_rng_state()}
    if device.type == "cuda":
        states[RANDOM_ON_DEVICE] = torch.cuda.get_rng_state(device)
    return states


def not_finite(step: int, epoch: int) -> DivergedError:
    """Return the error of a training whose loss is lost; step and epoch are counted from 1."""
    return DivergedError(f"the training loss is not finite any more in step {step}, epoch {epoch}")


def learning_rate_factors(num_steps: int, params: Mapping[str, Any]) -> npt.NDArray[np.float64]:
    """Return the part of the full learning rate at every step, `(num_steps,)`, from 0 to 1.

    The shapes are those of transformers' `get_scheduler`.
    """
    num_warmup = math.ceil(num_steps * params["warmup_ratio"])
    steps = np.arange(num_steps)
    done = (steps - num_warmup) / max(1, num_steps - num_warmup)
    after = {
        "constant": np.ones(num_steps),
        "linear": 1 - done,
        "cosine": 0.5 * (1 + np.cos(np.pi * done)),
    }[params["schedule"]]
    factors: npt.NDArray[np.float64] = np.where(
        steps < num_warmup, steps / max(1, num_warmup), after
    )
    return factors
