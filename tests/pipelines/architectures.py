"""Tiny random models of every architecture, saved in the hub's layout with a fitting tokenizer."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import transformers as hf
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from tests.pipelines.tiny import WORDS

WIDTH = 16
LAYERS = 2
POSITIONS = 64
IMAGE_SIZE = 16

WORD_PIECE = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
BYTE_LEVEL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


@dataclass(frozen=True)
class Architecture:
    """One architecture: its tiny configuration, and what is put beside its weights."""

    config: hf.PretrainedConfig
    save_inputs: Callable
    """Saves the tokenizer, or the image processor."""
    num_layers: int = LAYERS
    attention: int = 4
    """Linear maps in the attention of a layer."""
    linear: int = 6
    """Linear maps of a layer."""
    dtype: torch.dtype = torch.float32
    """In which the weights are saved."""


def save_architecture(folder, name):
    """Save a random model of an architecture, decoders with a head, and what makes its inputs."""
    architecture = ARCHITECTURES[name]
    torch.manual_seed(0)
    auto_class = hf.AutoModelForCausalLM if name in DECODERS else hf.AutoModel
    model = auto_class.from_config(architecture.config).to(architecture.dtype)
    model.save_pretrained(folder)
    architecture.save_inputs(folder)
    return folder


def _words(folder, pair=" $B:1 [SEP]:1", names=("input_ids", "token_type_ids", "attention_mask")):
    """Save a tokenizer of whole words between `[CLS]` and `[SEP]`, as BERT's."""
    words = WORD_PIECE + [word for group in WORDS.values() for word in group]
    raw = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair=f"[CLS] $A [SEP]{pair}",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    hf.PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=list(names),
    ).save_pretrained(folder)


def _untyped_words(folder):
    """Save the same for models that do not tell the two texts of a pair apart."""
    _words(folder, pair=" $B [SEP]", names=("input_ids", "attention_mask"))


def _bytes():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: n for n, piece in enumerate([*BYTE_LEVEL, *alphabet, "Ġf", "Ġd"])}
    raw = Tokenizer(models.BPE(vocabulary, [("Ġ", "f"), ("Ġ", "d")]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return raw


def _roberta_bytes(folder):
    """Save a byte-level tokenizer between `<s>` and `</s>`."""
    raw = _bytes()
    raw.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    hf.RobertaTokenizerFast(tokenizer_object=raw).save_pretrained(folder)


def _modernbert_bytes(folder):
    """Save a byte-level tokenizer of the general sort, as ModernBERT has it."""
    raw = _bytes()
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    hf.PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<pad>",
        unk_token="<unk>",
        cls_token="<s>",
        sep_token="</s>",
        mask_token="<mask>",
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)


def _gpt2_bytes(folder):
    """Save a byte-level tokenizer that adds nothing and, as GPT-2's own, has no padding token."""
    hf.GPT2TokenizerFast(
        tokenizer_object=_bytes(), bos_token="</s>", eos_token="</s>", unk_token="</s>"
    ).save_pretrained(folder)


def _llama_bytes(folder):
    """Save a byte-level tokenizer that begins with `<s>` and, as Llama 3's, cannot pad."""
    raw = _bytes()
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 0)]
    )
    hf.PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<s>",
        eos_token="</s>",
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)


def _vit_images(folder):
    _images(folder, "ViTImageProcessor", {"height": IMAGE_SIZE, "width": IMAGE_SIZE})


def _resnet_images(folder):
    _images(folder, "ConvNextImageProcessor", {"shortest_edge": IMAGE_SIZE})


def _images(folder, processor, size):
    settings = {
        "image_processor_type": processor,
        "do_resize": True,
        "size": size,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))


def save_images(folder, num_images=32):
    """Save small images in a folder for each of two classes: bright ones and dark ones."""
    draw = np.random.default_rng(0)
    for number in range(num_images):
        name, level = ("bright", 128) if number % 2 else ("dark", 0)
        (folder / name).mkdir(parents=True, exist_ok=True)
        pixels = level + draw.integers(0, 128, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


_SHAPE = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 2 * WIDTH,
    "max_position_embeddings": POSITIONS,
}
_NUM_WORDS = len(WORD_PIECE) + sum(len(group) for group in WORDS.values())
_WORD_SHAPE = {**_SHAPE, "vocab_size": _NUM_WORDS, "pad_token_id": 0}
_NUM_BYTES = len(BYTE_LEVEL) + 256 + 2
_ENDS = {"bos_token_id": 0, "eos_token_id": 2}
_BYTE_SHAPE = {**_SHAPE, **_ENDS, "vocab_size": _NUM_BYTES, "pad_token_id": 1}

ARCHITECTURES = {
    "bert": Architecture(hf.BertConfig(**_WORD_SHAPE), _words),
    "roberta": Architecture(hf.RobertaConfig(**_BYTE_SHAPE), _roberta_bytes),
    "distilbert": Architecture(
        hf.DistilBertConfig(
            vocab_size=_NUM_WORDS,
            dim=WIDTH,
            n_layers=LAYERS,
            n_heads=2,
            hidden_dim=2 * WIDTH,
            max_position_embeddings=POSITIONS,
        ),
        _untyped_words,
    ),
    "electra": Architecture(hf.ElectraConfig(**_WORD_SHAPE, embedding_size=8), _words),
    "deberta": Architecture(
        hf.DebertaV2Config(
            **_WORD_SHAPE,
            relative_attention=True,
            position_buckets=8,
            pos_att_type=["p2c", "c2p"],
            share_att_key=True,
            norm_rel_ebd="layer_norm",
            position_biased_input=False,
            type_vocab_size=0,
        ),
        _words,
    ),
    "modernbert": Architecture(
        hf.ModernBertConfig(**_BYTE_SHAPE, cls_token_id=0, sep_token_id=2, local_attention=8),
        _modernbert_bytes,
        attention=2,
        linear=4,
    ),
    "gpt2": Architecture(
        hf.GPT2Config(
            vocab_size=_NUM_BYTES,
            n_positions=POSITIONS,
            n_embd=WIDTH,
            n_layer=LAYERS,
            n_head=2,
            bos_token_id=2,
            eos_token_id=2,
        ),
        _gpt2_bytes,
        attention=2,
        linear=4,
    ),
    "llama": Architecture(
        hf.LlamaConfig(**_SHAPE, **_ENDS, vocab_size=_NUM_BYTES, num_key_value_heads=1),
        _llama_bytes,
        linear=7,
        dtype=torch.bfloat16,
    ),
    "vit": Architecture(
        hf.ViTConfig(
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=2,
            intermediate_size=2 * WIDTH,
            image_size=IMAGE_SIZE,
            patch_size=4,
        ),
        _vit_images,
    ),
    "resnet": Architecture(
        hf.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 8, WIDTH], depths=[1, 2, 1], layer_type="basic"
        ),
        _resnet_images,
        num_layers=3,
        attention=0,
        linear=0,
    ),
}
"""By name. Llama is saved in half precision, as its like are."""

IMAGE = ("vit", "resnet")
BYTE_LEVEL_MODELS = ("roberta", "modernbert", "gpt2", "llama")
DECODERS = ("gpt2", "llama")
TEXT = tuple(name for name in ARCHITECTURES if name not in IMAGE)
