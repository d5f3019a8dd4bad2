"""The stage `tokenize`: texts to token ids, once for all trials that share model and length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipelines.contract import Artifact, Context, Member, StageResult
from pipelines.models.backbone import warm_tokenizer
from pipelines.models.files import model_files
from pipelines.sources import TaskKind
from pipelines.transfer.data.loading import SPLITS
from pipelines.transfer.data.word_tokens import tokenize_words


def tokenize(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Return a table a split: `row`, `label`, `input_ids` and what else the model takes.

    Where words are labelled, `labels` and `first_tokens` are there instead of `label`.
    """
    examples = inputs["examples"]
    if TaskKind(examples.value["kind"]).labels_words:
        return tokenize_words(context, members, inputs, sources)
    tokenizer = warm_tokenizer(context, model_files(context, sources, inputs))
    value = {
        "pad_id": tokenizer.pad_token_id or 0,
        "labels": examples.value["labels"],
        "task": {name: examples.value[name] for name in ("kind", "num_rows")},
    }
    return [
        StageResult(
            value=value,
            tables={
                split: tokenized(tokenizer, examples.table(split), member["max_length"])
                for split in SPLITS
            },
        )
        for member in members
    ]


def tokenized(tokenizer: Any, table: pa.Table, max_length: int) -> pa.Table:
    """Return `row`, `label`, `input_ids` and what else the model takes, of rows with texts."""
    pairs = table["text_pair"].to_pylist() if "text_pair" in table.column_names else None
    encoded = tokenizer(
        table["text"].to_pylist(),
        pairs,
        truncation=True,
        max_length=max_length,
        return_attention_mask=False,
    )
    columns = {
        name: pa.array(encoded[name], pa.list_(pa.int32()))
        for name in ("input_ids", "token_type_ids")
        if name in encoded
    }
    return pa.table({"row": table["row"], "label": table["label"], **columns})
