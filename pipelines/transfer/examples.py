"""Labelled rows in the form in which the training loop takes them, and what it predicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from pipelines.seeding import stream_seed
from pipelines.training.learner import Rows
from pipelines.transfer.data.prepared import Batches
from pipelines.transfer.data.truth import LOST, Truth, WordSpans
from pipelines.transfer.encoding import BATCH_SIZE
from pipelines.transfer.teachers import TRAIN_SCORES


class LabelScale:
    """Real-valued labels in units of the training rows' deviation; classes stay as they are."""

    def __init__(self, labels: np.ndarray, *, is_regression: bool) -> None:
        self.is_regression = is_regression
        self._mean = float(labels.mean()) if is_regression else 0.0
        self._std = float(labels.std()) or 1.0 if is_regression else 1.0

    def to_targets(self, labels: np.ndarray, device: str) -> Tensor:
        """Return `(rows,)` training targets."""
        if self.is_regression:
            scaled = (labels - self._mean) / self._std
            return torch.tensor(scaled, dtype=torch.float32, device=device)
        return torch.tensor(labels, dtype=torch.int64, device=device)

    def to_predictions(self, outputs: Tensor) -> np.ndarray:
        """Return `(rows,)` predicted classes or numbers in the task's own unit."""
        if self.is_regression:
            return outputs.squeeze(-1).double().cpu().numpy() * self._std + self._mean
        return outputs.argmax(dim=-1).int().cpu().numpy()

    def folded(self, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return a head's weight and bias such that its outputs are in the task's own unit."""
        return weight * self._std, bias * self._std + self._mean


class FeatureExamples:
    """Rows of features, already on the device; with `spans` a row has features for each word."""

    def __init__(self, features: Tensor, labels: Tensor, spans: WordSpans | None = None) -> None:
        self.features = features  # (outputs, width)
        self.labels = labels
        self._spans = spans

    def __len__(self) -> int:
        return len(self.labels if self._spans is None else self._spans)

    def places(self, rows: Rows) -> Rows:
        """Return the numbers of the features of some rows."""
        return rows if self._spans is None else self._spans.places(rows)

    def begin_epoch(self, epoch: int) -> None:
        """Do nothing: the features stay as they are."""

    def batch(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Return `(batch, width)` features and `(batch,)` labels."""
        places = torch.as_tensor(self.places(rows))
        return self.features[places], self.labels[places]

    def in_order(self) -> Iterator[Rows]:
        """Yield all rows at once: a linear head takes them."""
        yield np.arange(len(self))


class PreparedExamples:
    """Labelled rows as the model takes them."""

    def __init__(self, batches: Batches, labels: Tensor) -> None:
        self._batches = batches
        self.labels = labels

    def __len__(self) -> int:
        return len(self._batches)

    def places(self, rows: Rows) -> Rows:
        """Return the numbers of the labels of some rows."""
        return self._batches.places(rows)

    def begin_epoch(self, epoch: int) -> None:
        """Do nothing: the rows stay as they are."""

    def batch(self, rows: Rows) -> tuple[dict[str, Tensor], Tensor]:
        """Return the model's inputs and `(outputs,)` labels."""
        return self._batches.batch(rows), self.labels[self.places(rows)]

    def in_order(self) -> Iterator[Rows]:
        """Yield the rows in batches of like length."""
        yield from self._batches.by_length(BATCH_SIZE)


def new_head(width: int, num_outputs: int, seed: int) -> nn.Linear:
    """Return a linear head, its weights drawn from the seed's own stream and its bias zero."""
    head = nn.Linear(width, num_outputs)
    generator = torch.Generator().manual_seed(stream_seed(seed, "head"))
    with torch.no_grad():
        head.weight.normal_(0.0, 0.02, generator=generator)  # BERT's initializer_range
        head.bias.zero_()
    return head


def num_outputs(labels: Sequence[str] | None) -> int:
    """Return how many numbers a head gives: one a class, or one for a real number."""
    return 1 if labels is None else len(labels)


def score_tables(
    outputs: Mapping[str, Tensor], truth: Mapping[str, Truth], scale: LabelScale, keep: Set[str]
) -> dict[str, pa.Table]:
    """Return the table `predictions` of validation and test rows, and the extras that are wanted.

    Args:
        outputs: What was predicted, by split; of the training rows where an extra needs it.
        truth: The labels by split.
        scale: Of the labels.
        keep: Names of extras; `train_scores` is a table as `predictions`, of the training rows.
    """
    held_out = {split: outputs[split] for split in ("validation", "test")}
    tables = {"predictions": prediction_table(held_out, truth, scale)}
    if TRAIN_SCORES in keep:
        tables[TRAIN_SCORES] = prediction_table({"train": outputs["train"]}, truth, scale)
    return tables


def prediction_table(
    outputs: Mapping[str, Tensor],
    truth: Mapping[str, Truth],
    scale: LabelScale,
) -> pa.Table:
    """Return `split, row, label, prediction, scores` for the rows of the splits in `outputs`.

    Where words are labelled there is one row a word, whose `position` in the sentence stands
    after `row`. A word that has no token has the prediction :data:`LOST` and null for scores.
    """
    parts = []
    for split, predicted in outputs.items():
        place = truth[split]
        scores = predicted.float().cpu().numpy()
        columns = {
            "split": pa.array([split] * len(place.rows)).dictionary_encode(),
            "row": place.rows,
            "position": place.positions,
            "label": place.labels,
            "prediction": scale.to_predictions(predicted),
            "scores": pa.FixedSizeListArray.from_arrays(scores.ravel(), scores.shape[1]),
        }
        if place.kept is None:
            del columns["position"]
        else:
            index = _index_of_outputs(place.kept, len(place.labels))
            columns["prediction"] = pa.array(columns["prediction"]).take(index).fill_null(LOST)
            columns["scores"] = columns["scores"].take(index)
        parts.append(pa.table(columns))
    return pa.concat_tables(parts).unify_dictionaries()


def _index_of_outputs(kept: np.ndarray, num_labels: int) -> pa.Array:
    """Return for each label the number of its output, null where it has none."""
    index = np.full(num_labels, LOST)
    index[kept] = np.arange(len(kept))
    return pa.array(index, mask=index == LOST)
