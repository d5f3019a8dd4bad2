"""A tiny random BERT and small invented tasks, saved as users save theirs."""

import json
import random
import string

import pyarrow as pa
import pyarrow.csv as pacsv
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

WORDS = {
    "good": ["fine", "great", "warm", "bright", "kind"],
    "bad": ["poor", "cold", "dull", "mean", "grim"],
    "any": ["film", "book", "day", "room", "talk", "meal", "song"],
}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def letters():
    """Return a tokenizer that takes every word apart into its letters, `##` before all but one."""
    pieces = [*SPECIAL, *string.ascii_lowercase, *(f"##{c}" for c in string.ascii_lowercase)]
    return models.WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]")


def whole_words():
    """Return a tokenizer that knows the words of the invented tasks."""
    words = SPECIAL + [word for group in WORDS.values() for word in group]
    return models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]")


def save_bert(folder, width=32, layers=2, splitting=whole_words):
    """Save a random BERT with a tokenizer in the hub's layout."""
    raw = Tokenizer(splitting())
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=raw.get_vocab_size(),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * width,
        max_position_embeddings=128,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_task(path, rows=160, *, kind="class", pair=False):
    """Save a CSV whose label can be read off its words: a class, or a number."""
    draw = random.Random(7)
    texts, seconds, labels = [], [], []
    for index in range(rows):
        num_good = draw.randint(0, 4)
        words = [draw.choice(WORDS["good"]) for _ in range(num_good)]
        words += [draw.choice(WORDS["bad"]) for _ in range(4 - num_good)]
        words += [draw.choice(WORDS["any"]) for _ in range(draw.randint(1, 6))]
        draw.shuffle(words)
        texts.append(f"{' '.join(words)} {index}")
        seconds.append(" ".join(draw.choice(WORDS["any"]) for _ in range(3)))
        is_good = num_good > 2 or (num_good == 2 and index % 2 == 0)
        labels.append(num_good / 4 if kind == "number" else "good" if is_good else "bad")
    columns = {"text": texts, "label": labels}
    if pair:
        columns["second"] = seconds
    pacsv.write_csv(pa.table(columns), path)
    return path


def save_tagged(path, rows=160):
    """Save JSON lines of words and BIO tags that can be read off the words."""
    draw = random.Random(7)
    lines = []
    for _ in range(rows):
        words, tags = [], []
        for _ in range(draw.randint(2, 6)):
            group = draw.choice(list(WORDS))
            run = draw.choices(WORDS[group], k=1 if group == "any" else draw.randint(1, 2))
            words += run
            begin = "O" if group == "any" else f"B-{group}"
            tags += [begin, *[begin.replace("B-", "I-")] * (len(run) - 1)]
        lines.append(json.dumps({"words": words, "tags": tags}))
    path.write_text("\n".join(lines))
    return path
