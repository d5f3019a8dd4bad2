"""The transfer methods: what each trains, on which examples; the loop is the same for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from pipelines.contract import Artifact, Context, Member, StageResult
from pipelines.seeding import stream_seed
from pipelines.transfer.backbone import TokenBatches, pool, trainable_copy, use_threads
from pipelines.transfer.encoding import BATCH_SIZE
from pipelines.transfer.tokenization import SPLITS
from pipelines.transfer.training import Learner, Rows, predict, train


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


def probe(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Train a linear head on frozen features."""
    use_threads(context)
    source = inputs["features"]
    arrays = {
        split: {part: source.array(f"{split}/{part}") for part in ("features", "labels", "rows")}
        for split in SPLITS
    }
    labels = source.value["labels"]
    scale = LabelScale(arrays["train"]["labels"], is_regression=labels is None)
    sets = {
        split: FeatureExamples(
            torch.tensor(part["features"], device=context.device),
            scale.to_targets(part["labels"], context.device),
        )
        for split, part in arrays.items()
    }
    results = []
    for member in members:
        width = sets["train"].features.shape[1]
        head = new_head(width, _num_outputs(labels), member["seed"]).to(context.device)
        learner = Learner(forward=head, module=head, groups=[{"params": list(head.parameters())}])
        curve = train(learner, sets["train"], sets["validation"], member)
        results.append(
            StageResult(
                value={"labels": labels, "curve": curve},
                tables={
                    "predictions": _predictions(
                        {s: predict(learner, sets[s]) for s in SPLITS},
                        {s: (arrays[s]["rows"], arrays[s]["labels"]) for s in SPLITS},
                        scale,
                    )
                },
                arrays={
                    name: weight.numpy(force=True) for name, weight in head.state_dict().items()
                },
            )
        )
    return results


def full(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Train every weight of the model and a new head."""
    use_threads(context)
    tokens = inputs["tokens"]
    tables = {split: tokens.table(split) for split in SPLITS}
    truth = {s: (t["row"].to_numpy(), t["label"].to_numpy()) for s, t in tables.items()}
    labels = tokens.value["labels"]
    scale = LabelScale(truth["train"][1], is_regression=labels is None)
    sets = {
        split: TokenExamples(
            TokenBatches(table, tokens.value["pad_id"], context.device),
            scale.to_targets(truth[split][1], context.device),
        )
        for split, table in tables.items()
    }
    results = []
    for member in members:
        backbone = trainable_copy(context, sources["model"])
        learner = _full_learner(backbone, _num_outputs(labels), member, context.device)
        curve = train(learner, sets["train"], sets["validation"], member)
        outputs = {split: predict(learner, sets[split]) for split in SPLITS}
        results.append(
            StageResult(
                value={"labels": labels, "curve": curve},
                tables={"predictions": _predictions(outputs, truth, scale)},
            )
        )
    return results


def new_head(width: int, num_outputs: int, seed: int) -> nn.Linear:
    """Return a linear head, its weights drawn from the seed's own stream and its bias zero."""
    head = nn.Linear(width, num_outputs)
    generator = torch.Generator().manual_seed(stream_seed(seed, "head"))
    with torch.no_grad():
        head.weight.normal_(0.0, 0.02, generator=generator)  # BERT's initializer_range
        head.bias.zero_()
    return head


def _full_learner(backbone: nn.Module, num_outputs: int, member: Member, device: str) -> Learner:
    config: Any = backbone.config
    head = new_head(config.hidden_size, num_outputs, member["seed"]).to(device)
    dropout = nn.Dropout(getattr(config, "hidden_dropout_prob", 0.1))

    def forward(batch: dict[str, Tensor]) -> Tensor:
        hidden = backbone(**batch).last_hidden_state  # (batch, length, width)
        pooled = pool(hidden, batch["attention_mask"], member["pooling"])  # (batch, width)
        return cast(Tensor, head(dropout(pooled)))

    head_lr = member["head_learning_rate"] or member["learning_rate"]
    return Learner(
        forward=forward,
        module=nn.ModuleList([backbone, dropout, head]),
        groups=[
            {"params": [w for w in backbone.parameters() if w.requires_grad]},
            {"params": list(head.parameters()), "lr": head_lr},
        ],
    )


def _num_outputs(labels: Sequence[str] | None) -> int:
    return 1 if labels is None else len(labels)


def _predictions(
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
