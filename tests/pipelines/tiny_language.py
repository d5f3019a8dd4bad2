"""Tiny random models that predict tokens, and invented text whose words follow each other."""

import random

import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, processors

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
NUM_WORDS = 24
NUM_USED = 6
"""Words that the invented text has, of those that the models know."""


def save_tokenizer(folder, *, marks):
    """Save a tokenizer of whole words; with `marks` texts begin, end and can be masked."""
    words = [*SPECIAL, *(f"w{n}" for n in range(NUM_WORDS))]
    raw = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"unk_token": "[UNK]", "eos_token": "[SEP]", "pad_token": "[PAD]"}
    if marks:
        ends = [("[CLS]", 2), ("[SEP]", 3)]
        raw.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=ends)
        names |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    hf.PreTrainedTokenizerFast(tokenizer_object=raw, **names).save_pretrained(folder)
    return len(words)


def save_gpt2(folder):
    """Save a random GPT-2."""
    size = save_tokenizer(folder, marks=False)
    torch.manual_seed(0)
    config = hf.GPT2Config(
        vocab_size=size, n_embd=32, n_layer=2, n_head=2, n_positions=128, eos_token_id=3
    )
    hf.GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def save_encoder(folder):
    """Save a random BERT without a head, whose tokenizer has a mask token."""
    size = save_tokenizer(folder, marks=True)
    torch.manual_seed(0)
    config = hf.BertConfig(
        vocab_size=size,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    hf.BertModel(config).save_pretrained(folder)
    return folder


def sentences(num=160):
    """Return invented sentences: after a word comes the next by number, two times in three."""
    draw = random.Random(7)
    found = []
    for _ in range(num):
        word = draw.randrange(NUM_USED)
        line = []
        for _ in range(draw.randint(8, 14)):
            line.append(f"w{word}")
            word = (word + 1) % NUM_USED if draw.random() < 0.6 else draw.randrange(NUM_USED)
        found.append(" ".join(line))
    return found


def save_text(path, num=160):
    """Save sentences, one a line."""
    path.write_text("\n".join(sentences(num)) + "\n")
    return path


def save_labelled(path, num=160):
    """Save sentences in a CSV, each with a class that its first word tells."""
    lines = [
        f"{line},{'low' if int(line.split()[0][1:]) < 3 else 'high'}" for line in sentences(num)
    ]
    path.write_text("\n".join(["text,label", *lines]))
    return path
