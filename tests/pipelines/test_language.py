"""Texts to blocks, what is hidden in them, and the head at these places only."""

import copy

import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from pipelines.contract import InputError
from pipelines.language.blocking import longest_input
from pipelines.language.blocks import Vocabulary, blocks_of
from pipelines.language.objectives import (
    PLACES,
    CausalExamples,
    MaskedExamples,
    block_losses,
    language_forward,
)
from pipelines.language.texts import texts_of
from pipelines.language.training import language_learner, train_on_blocks
from pipelines.models.token_batches import TokenBatches

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = Vocabulary(size=60, pad_id=0, mask_id=4, special_ids=(0, 1, 2, 3, 4))


def tokenizer_of(*, marks=True):
    words = [*SPECIAL, *(f"w{n}" for n in range(55))]
    vocabulary = {word: n for n, word in enumerate(words)}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    if marks:
        ends = [("[CLS]", 2), ("[SEP]", 3)]
        raw.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=ends)
    names = {"unk_token": "[UNK]", "eos_token": "[SEP]", "pad_token": "[PAD]"}
    return hf.PreTrainedTokenizerFast(tokenizer_object=raw, mask_token="[MASK]", **names)


def blocks(*lists):
    return pa.table({"input_ids": pa.array(lists, pa.list_(pa.int32()))})


def random_blocks(num=12, length=10, seed=0):
    draw = np.random.default_rng(seed)
    return blocks(*draw.integers(5, 60, (num - 1, length)).tolist(), [7, 8, 9])


def params(**changes):
    shape = {"schedule": "linear", "warmup_ratio": 0.0, "max_grad_norm": 1.0, "weight_decay": 0.0}
    sizes = {"epochs": 6, "batch_size": 4, "learning_rate": 1e-2, "seed": 0, "mask_ratio": 0.3}
    return {"objective": "causal", **shape, **sizes, **changes}


# Texts and blocks


def test_blocks_hold_all_tokens_in_order_and_only_the_last_is_short():
    table = blocks_of(tokenizer_of(), ["w0 w1 w2", "w3", "w4 w5"], 5)
    assert table["input_ids"].to_pylist() == [[2, 5, 6, 7, 3], [2, 8, 3, 2, 9], [10, 3]]


def test_texts_end_where_the_tokenizer_marks_no_ends():
    table = blocks_of(tokenizer_of(marks=False), ["w0 w1", "w2"], 16)
    assert table["input_ids"].to_pylist() == [[5, 6, 3, 7, 3]]


def test_a_single_token_at_the_end_is_left_out():
    table = blocks_of(tokenizer_of(marks=False), ["w0 w1 w2 w3"], 4)
    assert table["input_ids"].to_pylist() == [[5, 6, 7, 8]]


@pytest.mark.parametrize("texts", [[], ["", " "]])
def test_no_text_is_a_fault(texts):
    with pytest.raises(InputError, match="no text"):
        blocks_of(tokenizer_of(marks=False), texts, 4)


def test_texts_come_from_pairs_and_from_words():
    pairs = pa.table({"text": ["a", None], "text_pair": ["b", "c"]})
    assert texts_of(pairs) == ["a", "b", "c"]
    assert texts_of(pa.table({"tokens": [["a", "b"], ["c"]]})) == ["a b", "c"]


def test_a_vocabulary_survives_the_store():
    vocabulary = Vocabulary.of(tokenizer_of())
    assert Vocabulary.read(vocabulary.value) == vocabulary
    assert (vocabulary.mask_id, vocabulary.size) == (4, 60)
    assert set(vocabulary.special_ids) == {0, 1, 3, 4}


def test_the_tokenizer_knows_which_positions_are_not_for_tokens(tmp_path):
    hf.RobertaConfig(max_position_embeddings=514).save_pretrained(tmp_path)
    tokenizer = tokenizer_of()
    assert longest_input(tmp_path, tokenizer) == 514
    tokenizer.model_max_length = 512
    assert longest_input(tmp_path, tokenizer) == 512


# What is hidden


def test_each_next_token_of_a_block_is_predicted():
    examples = CausalExamples(TokenBatches(blocks([5, 6, 7], [8, 9]), 0, "cpu"))
    inputs, targets = examples.batch(np.array([0, 1]))
    assert inputs[PLACES].tolist() == [0, 1, 3]
    assert targets.tolist() == [6, 7, 9]


def masked(ratio=0.5, seed=0, num=200, length=40):
    table = random_blocks(num, length)
    return MaskedExamples(TokenBatches(table, 0, "cpu"), VOCABULARY, ratio=ratio, seed=seed)


def test_hidden_tokens_can_be_put_back():
    examples = masked()
    rows = np.arange(200)
    inputs, targets = examples.batch(rows)
    restored = inputs["input_ids"].flatten().clone()
    restored[inputs[PLACES]] = targets
    assert torch.equal(restored, examples.blocks.batch(rows)["input_ids"].flatten())


def test_eight_of_ten_hidden_tokens_are_masked_and_one_stays():
    inputs, targets = masked().batch(np.arange(200))
    shown = inputs["input_ids"].flatten()[inputs[PLACES]]
    assert abs((shown == 4).float().mean() - 0.8) < 0.03
    assert abs((shown == targets).float().mean() - 0.1) < 0.03
    assert len(targets) == 199 * 20 + 2


def test_special_tokens_are_never_hidden():
    table = blocks(*[[2, 10 + n % 40, 3] for n in range(50)])
    examples = MaskedExamples(TokenBatches(table, 0, "cpu"), VOCABULARY, ratio=0.9, seed=0)
    inputs, _ = examples.batch(np.arange(50))
    assert (inputs[PLACES] % 3 == 1).all()


def test_what_is_hidden_depends_on_block_epoch_and_seed_only():
    examples = masked()
    alone = examples.batch(np.array([7]))[0]["input_ids"][0]
    among = examples.batch(np.array([3, 7, 9]))[0]["input_ids"][1]
    assert torch.equal(alone, among)
    examples.begin_epoch(1)
    assert not torch.equal(alone, examples.batch(np.array([7]))[0]["input_ids"][0])
    assert not torch.equal(alone, masked(seed=1).batch(np.array([7]))[0]["input_ids"][0])


# The head at the places only

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 60}
ENCODER = {**SMALL, "intermediate_size": 32, "max_position_embeddings": 64}
MODELS = {
    "bert": lambda: hf.BertForMaskedLM(hf.BertConfig(**ENCODER)),
    "roberta": lambda: hf.RobertaForMaskedLM(hf.RobertaConfig(**ENCODER, pad_token_id=0)),
    "distilbert": lambda: hf.DistilBertForMaskedLM(
        hf.DistilBertConfig(vocab_size=60, dim=16, n_layers=2, n_heads=2, hidden_dim=32)
    ),
    "electra": lambda: hf.ElectraForMaskedLM(hf.ElectraConfig(**ENCODER, embedding_size=8)),
    "deberta-v2": lambda: hf.DebertaV2ForMaskedLM(hf.DebertaV2Config(**ENCODER)),
    "modernbert": lambda: hf.ModernBertForMaskedLM(
        hf.ModernBertConfig(
            **ENCODER,
            pad_token_id=0,
            cls_token_id=2,
            sep_token_id=3,
            bos_token_id=2,
            eos_token_id=3,
        )
    ),
    "gpt2": lambda: hf.GPT2LMHeadModel(
        hf.GPT2Config(vocab_size=60, n_embd=16, n_layer=2, n_head=2, n_positions=64)
    ),
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**ENCODER)),
}
CAUSAL = {"gpt2", "llama"}


def model_of(name):
    torch.manual_seed(0)
    return MODELS[name]().eval()


def examples_of(name):
    batches = TokenBatches(random_blocks(), 0, "cpu")
    if name in CAUSAL:
        return CausalExamples(batches)
    return MaskedExamples(batches, VOCABULARY, ratio=0.2, seed=0)


@pytest.mark.parametrize("name", MODELS)
def test_outputs_at_the_places_are_those_of_the_plain_forward_pass(name):
    model = model_of(name)
    plain = copy.deepcopy(model)
    inputs, targets = examples_of(name).batch(np.arange(12))
    outputs = language_forward(model)(inputs)
    assert outputs.shape == (len(targets), 60)
    logits = plain(**{n: t for n, t in inputs.items() if n != PLACES}).logits
    assert torch.allclose(outputs, logits.flatten(0, 1)[inputs[PLACES]], atol=1e-5)


def test_losses_of_blocks_are_those_of_transformers():
    learner = language_learner(model_of("gpt2"))
    sums, counts = block_losses(learner, examples_of("gpt2"))
    assert counts.tolist() == [9] * 11 + [2]
    ids = torch.tensor(random_blocks()["input_ids"].to_pylist()[3]).unsqueeze(0)
    expected = model_of("gpt2")(input_ids=ids, labels=ids).loss
    assert sums[3] / counts[3] == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_training_lowers_the_loss_and_tells_where_it_began(name):
    tables = {"train": random_blocks(), "validation": random_blocks()}
    objective = "causal" if name in CAUSAL else "masked"
    settings = params(objective=objective, epochs=25)
    done = train_on_blocks(language_learner(model_of(name)), tables, VOCABULARY, settings)
    assert done.curve[0] == {"step": 0, "epoch": 0, "validation_loss": pytest.approx(4.1, abs=0.2)}
    assert done.validation_loss == done.curve[-1]["validation_loss"] < 3.7
    assert done.perplexity == pytest.approx(np.exp(done.validation_loss))


def test_hiding_needs_a_mask_token():
    tables = {"train": random_blocks(), "validation": random_blocks()}
    bare = Vocabulary(size=60, pad_id=0, mask_id=None, special_ids=())
    with pytest.raises(InputError, match="mask token"):
        train_on_blocks(
            language_learner(model_of("bert")), tables, bare, params(objective="masked")
        )
