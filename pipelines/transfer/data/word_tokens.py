"""Words and their sub-words: which token stands for which word, and batches that know it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pipelines.contract import Artifact, Context, InputError, Member, StageResult
from pipelines.models.backbone import WORDS, warm_tokenizer
from pipelines.models.files import ModelFiles, model_files
from pipelines.models.token_batches import TokenBatches, ragged
from pipelines.training.learner import Rows
from pipelines.transfer.data.loading import SPLITS
from pipelines.transfer.data.truth import LOST, truth_of

BYTE_LEVEL_SPACE = "Ġ"
"""How byte-level tokenizers write a space."""


def tokenize_words(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Return a table a split: `row`, `labels`, `input_ids`, `first_tokens` and so on.

    `first_tokens` has the place of each word's first sub-word among the tokens: this one alone
    is labelled and predicted from. A word without a token has :data:`LOST`, and keeps its label:
    it counts as wrong. The value counts such words by split under `num_lost`.

    Raises:
        InputError: The model's tokenizer cannot tell which word a token is of.
    """
    tokenizer = word_tokenizer(context, model_files(context, sources, inputs))
    examples = inputs["examples"]
    results = []
    for member in members:
        tables = {
            split: _tokenized(tokenizer, examples.table(split), member["max_length"])
            for split in SPLITS
        }
        value = {
            "pad_id": tokenizer.pad_token_id or 0,
            "labels": examples.value["labels"],
            "task": {name: examples.value[name] for name in ("kind", "num_rows")},
            "num_lost": {
                split: int((ragged(table["first_tokens"])[0] == LOST).sum())
                for split, table in tables.items()
            },
        }
        results.append(StageResult(value=value, tables=tables))
    return results


def word_tokenizer(context: Context, files: ModelFiles) -> Any:
    """Return the tokenizer that takes sentences as lists of words; nobody may change it.

    Raises:
        InputError: It cannot tell which word a token is of.
    """
    tokenizer = warm_tokenizer(context, files)
    if not tokenizer.is_fast:
        raise InputError(
            f"the tokenizer of {files.name!r} is of the slow sort, which does not tell which word "
            "a token is of; tasks with labelled words need a fast one (tokenizer.json)",
            key="models",
        )
    if getattr(tokenizer, "add_prefix_space", None) is False:
        # Byte-level tokenizers, as of RoBERTa and GPT-2, take a word without a space before it
        # for the continuation of the last one.
        return warm_tokenizer(context, files, add_prefix_space=True)
    return tokenizer


def _tokenized(tokenizer: Any, table: pa.Table, max_length: int) -> pa.Table:
    words = table["tokens"].to_pylist()
    if _lacks_space(tokenizer):
        words = [[f" {word}" for word in row] for row in words]
    encoded = tokenizer(
        words,
        is_split_into_words=True,
        truncation=True,
        max_length=max_length,
        return_attention_mask=False,
    )
    columns = {
        name: pa.array(encoded[name], pa.list_(pa.int32()))
        for name in ("input_ids", "token_type_ids")
        if name in encoded
    }
    firsts = [first_tokens(encoded.word_ids(i), len(row)) for i, row in enumerate(words)]
    columns["first_tokens"] = pa.array(firsts, pa.list_(pa.int32()))
    return pa.table({"row": table["row"], "labels": table["labels"], **columns})


def _lacks_space(tokenizer: Any) -> bool:
    """Return whether it is byte-level, and takes a lone word for the end of another all the same.

    Of the byte-level tokenizers those of no class of their own, as Llama's and ModernBERT's, have
    no `add_prefix_space`.
    """
    alone, spaced = ("".join(tokenizer.tokenize(text)) for text in ("a", " a"))
    return spaced.startswith(BYTE_LEVEL_SPACE) and not alone.startswith(BYTE_LEVEL_SPACE)


def first_tokens(word_ids: Sequence[int | None], num_words: int) -> list[int]:
    """Return the place of each word's first token.

    Args:
        word_ids: The word of each token; None for tokens of no word, as `[CLS]`.
        num_words: How many words the sentence has.
    """
    firsts = [LOST] * num_words
    for place, word in enumerate(word_ids):
        if word is not None and firsts[word] == LOST:
            firsts[word] = place
    return firsts


class WordBatches(TokenBatches):
    """Tokenised sentences whose words are labelled; sentences of which no word is left are out.

    Args:
        table: As of :func:`tokenize_words`.
        pad_id: The padding token.
        device: Where batches go.
    """

    def __init__(self, table: pa.Table, pad_id: int, device: str) -> None:
        truth = truth_of(table)
        spans = truth.spans()
        assert truth.kept is not None
        assert spans is not None
        with_words = np.isin(table["row"].to_numpy(), truth.rows[truth.kept])
        super().__init__(table.filter(pa.array(with_words)), pad_id, device)
        self._firsts = ragged(table["first_tokens"])[0][truth.kept].astype(np.int64)
        self._spans = spans

    @property
    def num_outputs(self) -> int:
        """How many words there are to predict."""
        return len(self._firsts)

    def places(self, rows: Rows) -> Rows:
        """Return the numbers of the words of some sentences."""
        return self._spans.places(rows)

    def keys(self) -> list[bytes]:
        """Return for each sentence what is seen of it: its tokens, and which stand for words."""
        return [
            key + b"/" + self._firsts[self.places(np.array([row]))].tobytes()
            for row, key in enumerate(super().keys())
        ]

    def batch(self, rows: Rows) -> dict[str, Tensor]:
        """Return the model's inputs, and where in `(batch * longest,)` the words begin."""
        inputs = super().batch(rows)
        longest = inputs["input_ids"].shape[1]
        start = np.repeat(np.arange(len(rows)) * longest, self._spans.counts[rows])
        words = torch.from_numpy(start + self._firsts[self.places(rows)])
        return {**inputs, WORDS: words.to(inputs["input_ids"].device)}


def token_batches(table: pa.Table, pad_id: int, device: str) -> TokenBatches:
    """Return the batches of a table of the stage `tokenize`, of whatever kind its task is."""
    batches = WordBatches if "first_tokens" in table.column_names else TokenBatches
    return batches(table, pad_id, device)
