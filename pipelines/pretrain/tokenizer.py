"""The stage `tokenizer`: trains a byte-level BPE tokenizer on a corpus; knows no model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from pipelines.contract import Artifact, Context, Member, StageResult
from pipelines.language.texts import texts_of
from pipelines.models.files import made_model
from pipelines.pretrain.params import SPECIAL_TOKENS

PAD, BEGIN, END, UNKNOWN, MASK = SPECIAL_TOKENS


def train_tokenizer(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Return a tokenizer of at most `vocab_size` tokens for the training texts, as a folder.

    It serves encoders and decoders alike: `<s>` and `</s>` begin and end a text, and are also
    its first token of a class and its token for the end. A corpus with fewer different pairs
    of tokens than are asked for gives a smaller vocabulary.

    Source: R. Sennrich et al., Neural Machine Translation of Rare Words with Subword Units,
    2016; over bytes as in A. Radford et al., Language Models are Unsupervised Multitask
    Learners, 2019.
    """
    texts = texts_of(inputs["texts"].table("train"))
    results = []
    for index, member in enumerate(members):
        raw = _trained(texts, member["vocab_size"])
        folder = context.scratch / str(index)
        folder.mkdir()
        _save(raw, folder)
        value = {"vocab_size": raw.get_vocab_size()}
        results.append(made_model(folder, "tokenizer", value))
    return results


def _trained(texts: Sequence[str], vocab_size: int) -> Tokenizer:
    raw = Tokenizer(models.BPE())
    # A space before the first word too, so that a word is the same tokens wherever it stands.
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    raw.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A {END}",
        pair=f"{BEGIN} $A {END} $B {END}",
        special_tokens=[(token, SPECIAL_TOKENS.index(token)) for token in (BEGIN, END)],
    )
    return raw


def _save(raw: Tokenizer, folder: Path) -> None:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token=PAD,
        bos_token=BEGIN,
        cls_token=BEGIN,
        eos_token=END,
        sep_token=END,
        unk_token=UNKNOWN,
        mask_token=MASK,
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.save_pretrained(folder)
    # What reads a model's folder asks its configuration for the longest input; here there is none.
    (folder / "config.json").write_text(json.dumps({}), encoding="utf-8")
