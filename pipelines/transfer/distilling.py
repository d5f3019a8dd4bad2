"""The method `distill`: what a student learns from its teacher's scores; knows no model.

Source: G. Hinton, O. Vinyals and J. Dean, Distilling the Knowledge in a Neural Network, 2015.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from pipelines.contract import Artifact, InputError, Member
from pipelines.training.learner import Rows
from pipelines.transfer.data.prepared import PREPARED
from pipelines.transfer.data.truth import Truth
from pipelines.transfer.examples import LabelScale, PreparedExamples
from pipelines.transfer.teachers import TEACHER, TRAIN_SCORES


@dataclass(frozen=True, kw_only=True)
class TaughtTargets:
    """What the outputs of a batch should be, by the labels and by the teacher."""

    labels: Tensor
    """`(outputs,)` class indices, or standardised real numbers."""
    teacher: Tensor
    """`(outputs, classes)` scores before any softmax, or `(outputs, 1)` standardised numbers."""
    weights: Tensor
    """`(outputs,)` parts of the loss that come from the teacher, from 0 to 1."""
    temperature: float

    def __len__(self) -> int:
        return len(self.labels)

    def loss(self, outputs: Tensor) -> Tensor:
        """Return the mean loss of `(outputs, classes)`, or of `(outputs, 1)` for real numbers.

        The divergence of softened classes is multiplied by the square of the temperature, so
        that its gradient keeps its size whatever the temperature is.
        """
        if self.labels.is_floating_point():
            hard = (outputs.squeeze(-1) - self.labels) ** 2
            soft = (outputs - self.teacher).squeeze(-1) ** 2
        else:
            hard = F.cross_entropy(outputs, self.labels, reduction="none")
            own, wanted = (
                F.log_softmax(scores / self.temperature, dim=-1)
                for scores in (outputs, self.teacher)
            )
            divergence = F.kl_div(own, wanted, reduction="none", log_target=True).sum(dim=-1)
            soft = self.temperature**2 * divergence
        return (self.weights * soft + (1 - self.weights) * hard).mean()


class TaughtExamples:
    """Training rows that a teacher has scored.

    Args:
        examples: The rows with their labels.
        teacher: As in :class:`TaughtTargets`, for all labels; NaN where the teacher has no
            score, as of a word that it cut off: there the label alone counts.
        member: The student's params.
    """

    def __init__(self, examples: PreparedExamples, teacher: Tensor, member: Member) -> None:
        has_score = ~teacher.isnan().any(dim=-1)
        self._examples = examples
        self._teacher = teacher.nan_to_num()
        self._weights = has_score * float(member["teacher_weight"])
        self._temperature = float(member["temperature"])

    def __len__(self) -> int:
        return len(self._examples)

    def begin_epoch(self, epoch: int) -> None:
        """Let the rows draw anew what changes from epoch to epoch."""
        self._examples.begin_epoch(epoch)

    def batch(self, rows: Rows) -> tuple[Any, TaughtTargets]:
        """Return the model's inputs, and what the outputs should be."""
        inputs, labels = self._examples.batch(rows)
        places = torch.as_tensor(self._examples.places(rows))
        targets = TaughtTargets(
            labels=labels,
            teacher=self._teacher[places],
            weights=self._weights[places],
            temperature=self._temperature,
        )
        return inputs, targets

    def in_order(self) -> Iterator[Rows]:
        """Yield the rows in batches of like length."""
        yield from self._examples.in_order()


def taught(
    examples: PreparedExamples,
    truth: Truth,
    scale: LabelScale,
    inputs: Mapping[str, Artifact],
    member: Member,
) -> PreparedExamples | TaughtExamples:
    """Return the training rows as they are, or with the scores of the teacher among the inputs.

    Raises:
        InputError: The teacher knows other classes, or not all of the rows.
    """
    if TEACHER not in inputs:
        return examples
    teacher, labels = inputs[TEACHER], inputs[PREPARED].value["labels"]
    if teacher.value["labels"] != labels:
        raise InputError(f"the teacher knows the classes {teacher.value['labels']}, not {labels}")
    scores = scores_of(teacher.table(TRAIN_SCORES), truth)
    device = examples.labels.device
    if scale.is_regression:
        standardised = scale.to_targets(scores[:, 0], str(device)).unsqueeze(-1)
        return TaughtExamples(examples, standardised, member)
    return TaughtExamples(examples, torch.tensor(scores, device=device), member)


def scores_of(table: pa.Table, truth: Truth) -> np.ndarray:
    """Return a teacher's scores in the order of a student's targets.

    Args:
        table: `row`, `prediction`, `scores` and, where words are labelled, `position`.
        truth: The student's rows.

    Returns:
        `(outputs, classes)` scores, or `(outputs, 1)` numbers in the task's own unit; NaN where
        the teacher has none.

    Raises:
        InputError: The table lacks some of the rows.
    """
    kept = slice(None) if truth.kept is None else truth.kept
    positions = None if truth.positions is None else truth.positions[kept]
    wanted = _keys(truth.rows[kept], positions)
    known = _keys(
        table["row"].to_numpy(), table["position"].to_numpy() if positions is not None else None
    )
    order = np.argsort(known)
    places = np.searchsorted(known, wanted, sorter=order).clip(max=len(known) - 1)
    index = order[places]
    missing = np.unique(truth.rows[kept][known[index] != wanted])
    if len(missing):
        raise InputError(
            f"the teacher has no scores for {len(missing)} training rows, as row {missing[0]}; "
            "leave its train_size out, and it takes the student's rows",
            key=TEACHER,
        )
    scores: np.ndarray = _values(table)[index]
    return scores


def _values(table: pa.Table) -> np.ndarray:
    """Return `(rows, width)` scores, NaN where there are none."""
    if pa.types.is_floating(table["prediction"].type):
        numbers: np.ndarray = table["prediction"].to_numpy()[:, None]
        return numbers
    column = table["scores"].combine_chunks()
    values = np.full((len(column), column.type.list_size), np.nan, dtype=np.float32)
    flat = column.drop_null().flatten().to_numpy()
    values[column.is_valid().to_numpy(zero_copy_only=False)] = flat.reshape(-1, values.shape[1])
    return values


def _keys(rows: np.ndarray, positions: np.ndarray | None) -> np.ndarray:
    """Return one number for each word of each row; no sentence has 2^20 words."""
    return rows if positions is None else (rows.astype(np.int64) << 20) | positions
