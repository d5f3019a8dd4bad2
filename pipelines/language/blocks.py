"""Texts of any length to blocks of tokens of one length; knows no objective and no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.contract import InputError, Json


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What the objectives must know of a tokenizer."""

    size: int
    pad_id: int
    mask_id: int | None
    """None where the tokenizer has no mask token."""
    special_ids: tuple[int, ...]
    """Tokens that stand for no text."""

    @classmethod
    def of(cls, tokenizer: Any) -> Vocabulary:
        """Return the vocabulary of a tokenizer of transformers."""
        return cls(
            size=len(tokenizer),
            pad_id=tokenizer.pad_token_id or 0,
            mask_id=tokenizer.mask_token_id,
            special_ids=tuple(sorted(tokenizer.all_special_ids)),
        )

    @classmethod
    def read(cls, value: dict[str, Json]) -> Vocabulary:
        """Return what :meth:`value` gave."""
        return cls(**{**value, "special_ids": tuple(value["special_ids"])})

    @property
    def value(self) -> dict[str, Json]:
        """The same as plain data."""
        return asdict(self)


def blocks_of(tokenizer: Any, texts: Sequence[str], length: int) -> pa.Table:
    """Return the texts, one after another, cut into blocks: column `input_ids`, lists of int32.

    Every text begins and ends as the tokenizer has it; where it marks neither, its token for
    the end of a text follows. The last block is what is left; a single token is dropped, as
    nothing can be predicted from it.

    Source: `group_texts` of transformers' examples of language modelling.

    Raises:
        InputError: All texts together have fewer than two tokens.
    """
    if not any(text.strip() for text in texts):
        raise InputError("there is no text to learn from", key="source")
    encoded = tokenizer(list(texts), return_attention_mask=False, verbose=False)["input_ids"]
    end = [] if tokenizer.num_special_tokens_to_add() else [tokenizer.eos_token_id]
    lists = [np.array([*ids, *(i for i in end if i is not None)], np.int32) for ids in encoded]
    tokens = np.concatenate(lists)
    starts = np.arange(0, len(tokens), length)
    if len(starts) and len(tokens) - starts[-1] < 2:
        starts, tokens = starts[:-1], tokens[: starts[-1]]
    if not len(starts):
        raise InputError("the texts have a single token, which leaves nothing to predict")
    offsets = pa.array(np.append(starts, len(tokens)), pa.int32())
    return pa.table({"input_ids": pa.ListArray.from_arrays(offsets, pa.array(tokens))})
