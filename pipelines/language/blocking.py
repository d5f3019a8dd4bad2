"""The stage `blocks`: the texts of each split as blocks of tokens for a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.contract import Artifact, Context, InputError, Json, Member, StageResult
from pipelines.language.blocks import Vocabulary, blocks_of
from pipelines.language.texts import texts_of
from pipelines.models.backbone import warm_tokenizer
from pipelines.models.files import ModelFiles, model_files


def tokenize_blocks(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Return a table of blocks for each of the member's `splits`, `max_length` tokens each.

    The value holds `vocabulary`, as of :class:`Vocabulary`, and `num_tokens` by split.

    Raises:
        InputError: The model takes no blocks of this length, or a split has no text.
    """
    files = model_files(context, sources, inputs)
    tokenizer = warm_tokenizer(context, files)
    vocabulary = Vocabulary.of(tokenizer)
    results = []
    for member in members:
        length = member["max_length"]
        check_length(length, files, tokenizer)
        tables = {
            split: blocks_of(tokenizer, texts_of(inputs["examples"].table(split)), length)
            for split in member["splits"]
        }
        num_tokens: Json = {
            split: len(table["input_ids"].combine_chunks().values)
            for split, table in tables.items()
        }
        value = {"vocabulary": vocabulary.value, "num_tokens": num_tokens}
        results.append(StageResult(value=value, tables=tables))
    return results


def check_length(length: int, files: ModelFiles, tokenizer: Any) -> None:
    """Check that a model takes blocks of a length: unlike texts, they all have it.

    Raises:
        InputError: It has fewer positions.
    """
    longest = longest_input(files.folder, tokenizer)
    if length > longest:
        raise InputError(
            f"max_length is {length}, but model {files.name!r} takes {longest} tokens at most",
            key="max_length",
            nearest=str(longest),
        )


def longest_input(folder: Path, tokenizer: Any) -> int:
    """Return how many tokens a model takes; where it does not say, a very large number."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = ("max_position_embeddings", "n_positions")
    stated = [config[name] for name in names if isinstance(config.get(name), int)]
    # A tokenizer knows it where some positions are not for tokens, as in RoBERTa.
    return int(min([*stated, tokenizer.model_max_length]))
