"""The pre-trained model on a worker: tokenizer, weights, pooled features, kept warm."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from pipelines.contract import Context
from pipelines.sources import Model, fetch
from pipelines.transfer.training import Rows
from pipelines.transfer.truth import ragged


def use_threads(context: Context) -> None:
    """Keep torch to the cores of this worker: the same number gives the same sums."""
    if torch.get_num_threads() != context.num_cpus:
        torch.set_num_threads(context.num_cpus)


WORDS = "words"
"""In a batch: which of the tokens, numbered `(batch * length,)`, stand for words."""


def warm_tokenizer(context: Context, model: Model, **options: Any) -> Any:
    """Return the model's tokenizer, by default as it was saved."""
    return context.cached(
        "/".join(["tokenizer", model.digest, *options]),
        lambda: AutoTokenizer.from_pretrained(
            fetch(model.source), local_files_only=True, **options
        ),
    )


def warm_backbone(context: Context, model: Model) -> nn.Module:
    """Return the pre-trained model in eval mode; nobody may change its weights."""

    def load() -> nn.Module:
        backbone = AutoModel.from_pretrained(
            fetch(model.source),
            local_files_only=True,
            dtype=torch.float32,
            attn_implementation="sdpa",
        )
        return cast(nn.Module, backbone.to(context.device).eval().requires_grad_(False))

    return cast(nn.Module, context.cached(f"model/{model.digest}", load))


def trainable_copy(context: Context, model: Model) -> nn.Module:
    """Return a copy of the pre-trained model whose weights may be trained."""
    return copy.deepcopy(warm_backbone(context, model)).requires_grad_(True)


def pool(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Reduce token features to one vector a text.

    Args:
        hidden: `(batch, length, width)`.
        mask: `(batch, length)`, 1 where there is a token.
        pooling: `mean`, `cls` (the first token) or `max`.

    Returns:
        `(batch, width)`.
    """
    if pooling == "cls":
        return hidden[:, 0]
    weights = mask.unsqueeze(-1).to(hidden.dtype)  # (batch, length, 1)
    if pooling == "max":
        return hidden.masked_fill(weights == 0, float("-inf")).amax(dim=1)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def features_of(backbone: nn.Module, batch: Mapping[str, Tensor], pooling: str) -> Tensor:
    """Return one vector a text, or one a word where the batch says which tokens are words.

    Returns:
        `(batch, width)`, or `(words, width)`.
    """
    inputs = {name: tensor for name, tensor in batch.items() if name != WORDS}
    hidden: Tensor = backbone(**inputs).last_hidden_state  # (batch, length, width)
    if WORDS in batch:
        return hidden.flatten(0, 1)[batch[WORDS]]
    return pool(hidden, batch["attention_mask"], pooling)


class TokenBatches:
    """Tokenised texts, padded a batch at a time to the longest in it.

    Args:
        table: Columns `input_ids`, and `token_type_ids` where the model has them: lists of ints.
        pad_id: The padding token.
        device: Where batches go.
    """

    def __init__(self, table: pa.Table, pad_id: int, device: str) -> None:
        self._columns = {
            name: ragged(table[name])
            for name in ("input_ids", "token_type_ids")
            if name in table.column_names
        }
        self._pad_id = pad_id
        self._device = device
        self.lengths = np.diff(self._columns["input_ids"][1])

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def num_outputs(self) -> int:
        """How many things there are to predict: one a text."""
        return len(self)

    def places(self, rows: Rows) -> Rows:
        """Return the numbers of what a batch of rows gives outputs for."""
        return rows

    def batch(self, rows: Rows) -> dict[str, Tensor]:
        """Return the model's inputs for some rows, each `(batch, longest)`."""
        longest = int(self.lengths[rows].max())
        inputs = {}
        for name, (values, offsets) in self._columns.items():
            fill = self._pad_id if name == "input_ids" else 0
            padded = np.full((len(rows), longest), fill, dtype=np.int64)
            for index, row in enumerate(rows):
                ids = values[offsets[row] : offsets[row + 1]]
                padded[index, : len(ids)] = ids
            inputs[name] = torch.from_numpy(padded).to(self._device)
        mask = np.arange(longest) < self.lengths[rows, None]
        inputs["attention_mask"] = torch.from_numpy(mask.astype(np.int64)).to(self._device)
        return inputs

    def by_length(self, batch_size: int) -> Iterator[Rows]:
        """Yield all rows in batches of like length, so that little is padded."""
        order = np.argsort(self.lengths, kind="stable")
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size]
