"""The one training loop of all methods: AdamW, schedule, clipping, curve; knows no model."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from pipelines.contract import Checkpoint, DivergedError
from pipelines.seeding import stream_seed
from pipelines.training.curve import Curve
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


RANDOM, RANDOM_ON_DEVICE = "random", "random/device"
"""In a checkpoint: the states of the host's random stream, and of the accelerator's."""

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
