"""Trials of the method `lora` over one copy of the frozen model: side by side, or in turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.cohorts import CohortMember, Finished
from pipelines.contract import Context, Member, digest_of
from pipelines.models.anatomy import linear_layers
from pipelines.models.backbone import features_of, set_up_torch, trainable_copy, warm_model
from pipelines.models.boundary import MASK
from pipelines.models.dropout import dropout_mask
from pipelines.models.lora_bank import Adapter, LoraBank, NotSharedError
from pipelines.seeding import stream_seed
from pipelines.training.heads import each_loss
from pipelines.training.learner import Learner, Rows, mean_loss
from pipelines.training.lockstep import Lockstep
from pipelines.training.precision import arithmetic
from pipelines.transfer.boundary_cohort import UpperPart, upper_parts
from pipelines.transfer.boundary_cohort import finetune_together as in_turn
from pipelines.transfer.examples import num_outputs
from pipelines.transfer.stages import SIDE_BY_SIDE

TOLERANCE = 1e-3
"""By how much outputs may differ from those of a member alone: another order of sums."""


def finetune_together(
    context: Context, members: Sequence[CohortMember], *, side_by_side: bool | None = None
) -> Iterator[Finished]:
    """Train the members over one copy of the frozen model.

    Args:
        context: What the worker offers.
        members: The trials.
        side_by_side: Whether those that differ in nothing but :data:`SIDE_BY_SIDE` take each
            step together; else all train in turn. By default side by side on an accelerator,
            which small batches leave idle, and in turn on a CPU: there the larger batch saves
            less than the padding to the longest row of all costs.
    """
    if side_by_side is None:
        side_by_side = context.device != "cpu"
    if not side_by_side:
        yield from in_turn(context, members)
        return
    set_up_torch(context)
    parts = upper_parts(context, members)
    yield {}
    for part, own in parts:
        groups: dict[str, dict[int, CohortMember]] = {}
        for index, member in own.items():
            common = {n: v for n, v in member.params.items() if n not in SIDE_BY_SIDE}
            groups.setdefault(digest_of(common), {})[index] = member
        for group in groups.values():
            yield from _side_by_side(context, part, group)


def _side_by_side(
    context: Context, part: UpperPart, group: Mapping[int, CohortMember]
) -> Iterator[Finished]:
    """Train members in lockstep; where the model mixes rows they are left to others."""
    positions, members = list(group), list(group.values())
    shared = _SharedBase(context, part, [member.params for member in members])
    if not shared.agrees():
        return
    lockstep = Lockstep(
        [member.params for member in members],
        shared.packed(),
        shared.num_head,
        len(part.sets["train"]),
    )
    for left in lockstep.train(shared):
        shared.unpack(left.weights, left.members)
        ended: dict[int, Any] = {}
        for place, curve, error in zip(left.members, left.curves, left.errors, strict=True):
            learner, keep = shared.learners[place], members[place].keep
            ended[positions[place]] = error or part.task.result(learner, curve, keep, part.sets)
        yield ended


class _SharedBase:
    """The frozen model, and the weights of all members as rows of a matrix.

    Each member has besides a learner of its own over the same frozen weights, as it has alone:
    from it come the first weights, and by it is seen what the trained ones are worth.
    """

    def __init__(self, context: Context, part: UpperPart, params: Sequence[Member]) -> None:
        self._sets = part.sets
        self._params = params
        self._num_outputs = num_outputs(part.task.labels)
        warm = warm_model(context, part.files)
        self.learners = []
        for member in params:
            learner = part.learner(context, member)
            _share_frozen(learner.module.get_submodule("backbone"), warm)
            self.learners.append(learner)
        self._backbone = trainable_copy(context, part.files).requires_grad_(False).eval()
        _share_frozen(self._backbone, warm)
        self._names = linear_layers(
            self._backbone,
            attention_only=params[0]["target_modules"] == "attention",
            frozen_layers=part.depth,
        )
        part.cut(self._backbone)
        sizes = [(a.shape[1], b.shape[0]) for a, b in self._pairs(self.learners[0])]
        rank = max(member["rank"] for member in params)
        self._bank = LoraBank(self._backbone, self._names, sizes, rank)
        self._head_dropout = cast(nn.Dropout, self.learners[0].module.get_submodule("dropout")).p
        self._device = next(self._backbone.parameters()).device
        self._adapters = [self._adapter(member) for member in params]

    @property
    def num_head(self) -> int:
        """How many weights a head has."""
        return sum(weight.numel() for weight in self._head(self.learners[0]).parameters())

    def packed(self) -> Tensor:
        """Return the weights of all learners, `(members, weights)`."""
        rows = []
        for learner in self.learners:
            head = [weight.detach().flatten() for weight in self._head(learner).parameters()]
            rows.append(torch.cat([self._bank.packed(self._pairs(learner)), *head]))
        return torch.stack(rows)

    @torch.no_grad()
    def unpack(self, weights: Tensor, members: Sequence[int]) -> None:
        """Give some members' learners the weights `(members, weights)`."""
        for row, member in zip(weights, members, strict=True):
            learner = self.learners[member]
            self._bank.unpack(row[: -self.num_head], self._pairs(learner))
            head = self._head(learner)
            head.weight.copy_(row[-self.num_head : -len(head.bias)].view_as(head.weight))
            head.bias.copy_(row[-len(head.bias) :])

    def num_targets(self, rows: Rows) -> int:
        """Return how many outputs some training rows have."""
        return len(self._sets["train"].places(rows))

    def losses(self, weights: Tensor, members: Sequence[int], rows: Sequence[Rows]) -> Tensor:
        """Return the mean training loss of each, `(members,)`."""
        train_set = self._sets["train"]
        # Before the forward pass, because a copy to an accelerator waits for all that was begun.
        index, sizes = _padded([train_set.places(own) for own in rows])
        targets = train_set.labels[torch.from_numpy(index).to(self._device)]
        counts = torch.from_numpy(sizes).to(self._device)
        with arithmetic(self.learners[0].precision, self._device.type):
            outputs = self._outputs(weights, members, rows, draws=True)
        padding = torch.arange(index.shape[1], device=self._device) >= counts[:, None]
        return each_loss(outputs, targets).masked_fill(padding, 0).sum(1) / counts

    def validation_losses(self, weights: Tensor, members: Sequence[int]) -> Tensor:
        """Return the mean validation loss `(members,)`."""
        self.unpack(weights, members)
        rows = self._sets["validation"]
        return torch.tensor([mean_loss(self.learners[member], rows) for member in members])

    @torch.no_grad()
    def agrees(self) -> bool:
        """Return whether two members give together what each gives alone, seen on a few rows.

        One has the shortest rows and the other the longest, and both have adapters that matter.
        They are compared in single precision, because the rounding of another would hide a leak.
        """
        order = np.concatenate(list(self._sets["train"].in_order()))
        number = min(2, len(order))
        rows = [order[:number], order[-number:]]
        places = [0, len(self.learners) - 1]
        before = self.packed()
        noise = torch.randn(before.shape[1], generator=torch.Generator().manual_seed(0))
        everyone = range(len(self.learners))
        self.unpack(before + 0.02 * noise.to(before.device), everyone)
        weights = self.packed()  # without noise beyond a member's own rank
        try:
            together = self._outputs(weights[places], places, rows, draws=False)
            alone = [self._alone(place, own) for place, own in zip(places, rows, strict=True)]
        except NotSharedError:
            return False
        finally:
            self.unpack(before, everyone)
        return all(
            torch.allclose(ours[: len(theirs)], theirs, rtol=TOLERANCE, atol=TOLERANCE)
            for ours, theirs in zip(together, alone, strict=True)
        )

    def _alone(self, member: int, rows: Rows) -> Tensor:
        learner = self.learners[member]
        learner.module.eval()
        return learner.forward(self._sets["train"].batch(rows)[0])

    def _outputs(
        self, weights: Tensor, members: Sequence[int], rows: Sequence[Rows], *, draws: bool
    ) -> Tensor:
        """Return `(members, most targets, outputs)`, zero features where padded."""
        batch, _ = self._sets["train"].batch(np.concatenate(rows))
        adapters = [self._adapters[member] for member in members]
        num_low = weights.shape[1] - self.num_head
        low, head = torch.split(weights, [num_low, self.num_head], dim=1)
        self._bank.use(low, adapters, len(rows[0]), batch.get(MASK), draws=draws)
        features = features_of(self._backbone, batch, self._params[0]["pooling"])
        parts = list(torch.split(features, [self.num_targets(own) for own in rows]))
        if draws and self._head_dropout:
            parts = [
                part * dropout_mask(part.shape, self._head_dropout, part.device, own.generator)
                for part, own in zip(parts, adapters, strict=True)
            ]
        padded = nn.utils.rnn.pad_sequence(parts, batch_first=True)
        maps, biases = torch.split(
            head, [self.num_head - self._num_outputs, self._num_outputs], dim=1
        )
        maps = maps.view(len(maps), self._num_outputs, -1)  # (members, outputs, width)
        return torch.baddbmm(biases[:, None], padded, maps.transpose(1, 2)).float()

    def _adapter(self, member: Member) -> Adapter:
        generator = torch.Generator(self._device)
        return Adapter(
            scale=member["alpha"] / member["rank"],
            dropout=member["dropout"],
            generator=generator.manual_seed(stream_seed(member["seed"], "dropout")),
        )

    def _pairs(self, learner: Learner) -> list[tuple[Tensor, Tensor]]:
        """Return A and B of each adapted map."""
        backbone = learner.module.get_submodule("backbone")
        maps: list[Any] = [backbone.get_submodule(name) for name in self._names]
        return [(m.lora_A["default"].weight, m.lora_B["default"].weight) for m in maps]

    def _head(self, learner: Learner) -> nn.Linear:
        return cast(nn.Linear, learner.module.get_submodule("head"))


def _padded(rows: Sequence[Rows]) -> tuple[Rows, Rows]:
    """Return numbers `(members, longest)`, zero where padded, and how many each has."""
    sizes = np.array([len(own) for own in rows])
    index = np.zeros((len(rows), sizes.max()), dtype=np.int64)
    for own, line in zip(rows, index, strict=True):
        line[: len(own)] = own
    return index, sizes


def _share_frozen(adapted: nn.Module, original: nn.Module) -> None:
    """Let a model with adapters have the very weights of the one that it is a copy of."""
    weights = dict(original.named_parameters())
    for name, weight in list(adapted.named_parameters()):
        if not weight.requires_grad:
            owner, _, last = name.rpartition(".")
            setattr(adapted.get_submodule(owner), last, weights[name.replace(".base_layer.", ".")])
