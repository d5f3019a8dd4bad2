"""Labelled rows in the form in which the training loop takes them, and what it predicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from pipelines.seeding import stream_seed
from pipelines.transfer.backbone import TokenBatches
from pipelines.transfer.encoding import BATCH_SIZE
from pipelines.transfer.training import Rows


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


class FeatureExamples:
    """Rows of features, already on the device."""

    def __init__(self, features: Tensor, labels: Tensor) -> None:
        self.features = features  # (rows, width)
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Rows) -> Tensor:
        """Return `(batch, width)`."""
        return self.features[torch.as_tensor(rows)]

    def in_order(self) -> Iterator[Rows]:
        """Yield all rows at once: a linear head takes them."""
        yield np.arange(len(self))


class TokenExamples:
    """Rows of tokens, padded a batch at a time."""

    def __init__(self, tokens: TokenBatches, labels: Tensor) -> None:
        self.tokens = tokens
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Rows) -> dict[str, Tensor]:
        """Return the model's inputs, each `(batch, longest)`."""
        return self.tokens.batch(rows)

    def in_order(self) -> Iterator[Rows]:
        """Yield the rows in batches of like length."""
        yield from self.tokens.by_length(BATCH_SIZE)


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


def prediction_table(
    outputs: Mapping[str, Tensor],
    truth: Mapping[str, tuple[np.ndarray, np.ndarray]],
    scale: LabelScale,
) -> pa.Table:
    """Return `split, row, label, prediction, scores` for the validation and the test rows."""
    parts = []
    for split in ("validation", "test"):
        rows, labels = truth[split]
        scores = outputs[split].float().cpu().numpy()
        parts.append(
            pa.table(
                {
                    "split": pa.array([split] * len(rows)).dictionary_encode(),
                    "row": rows,
                    "label": labels,
                    "prediction": scale.to_predictions(outputs[split]),
                    "scores": pa.FixedSizeListArray.from_arrays(scores.ravel(), scores.shape[1]),
                }
            )
        )
    return pa.concat_tables(parts).unify_dictionaries()
