"""The pipeline `pretrain`: its tokenizer, its models, training that is cut, and what it refuses."""

import math
from dataclasses import replace

import pyarrow as pa
import pytest
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from cluster.job import Resources
from cluster.store import Store
from orchestrator.running.checkpoint import StoreCheckpoint
from orchestrator.running.worker_context import WorkerContext
from pipelines.contract import DivergedError, InputError
from pipelines.language.blocking import tokenize_blocks
from pipelines.models.examination import examine
from pipelines.models.files import write_model
from pipelines.pipeline import TrialSettings
from pipelines.pretrain.evaluation import evaluate
from pipelines.pretrain.graph import PRETRAIN
from pipelines.pretrain.params import OBJECTIVES, PretrainParams
from pipelines.pretrain.tokenizer import train_tokenizer
from pipelines.pretrain.training import pretrain
from tests.pipelines.test_finetuning import CutError, CuttingCheckpoint
from tests.pipelines.tiny_language import save_text, sentences

SMALL = {
    "vocab_size": 300,
    "num_hidden_layers": 2,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "max_length": 16,
    "batch_size": 8,
    "epochs": 2,
    "learning_rate": 1e-2,
}


class Made:
    """What a stage left behind, in memory."""

    def __init__(self, result):
        self.value = result.value
        self.arrays = result.arrays
        self.table = result.tables.__getitem__


@pytest.fixture
def context(tmp_path):
    return new_context(tmp_path)


def new_context(folder):
    context = WorkerContext(Resources())
    context.scratch = folder / "scratch"
    context.scratch.mkdir()
    store = Store(str(folder / "store"))
    context.checkpoint = lambda member: StoreCheckpoint(store, "0" * 64, member)
    return context


@pytest.fixture(scope="module")
def texts():
    lines = sentences(120)
    parts = {"train": lines[:80], "validation": lines[80:100], "test": lines[100:]}
    return pa_artifact({split: pa.table({"text": part}) for split, part in parts.items()})


def pa_artifact(tables):
    made = Made.__new__(Made)
    made.value, made.arrays, made.table = {}, {}, tables.__getitem__
    return made


@pytest.fixture(scope="module")
def inputs(texts, tmp_path_factory):
    """What the training stage is given."""
    context = new_context(tmp_path_factory.mktemp("inputs"))
    (tokenizer,) = train_tokenizer(context, [{"vocab_size": 300}], {"texts": texts}, {})
    wanted = {"max_length": 16, "splits": ["train", "validation", "test"]}
    given = {"examples": texts, "model": Made(tokenizer)}
    (blocks,) = tokenize_blocks(context, [wanted], given, {})
    return {"tokenizer": Made(tokenizer), "blocks": Made(blocks), "texts": texts}


def member(model_type, **params):
    """Return params as the training stage gets them."""
    objective = OBJECTIVES[model_type]
    given = PretrainParams(corpus="any", objective=objective, **{**SMALL, **params}).model_dump()
    return {**given, "model_type": model_type, "intermediate_size": 32, "seed": 1}


def test_the_tokenizer_is_the_same_each_time_and_loses_nothing(texts, context, tmp_path):
    (first,) = train_tokenizer(context, [{"vocab_size": 280}], {"texts": texts}, {})
    other = tmp_path / "other"
    other.mkdir()
    (second,) = train_tokenizer(new_context(other), [{"vocab_size": 280}], {"texts": texts}, {})
    assert first.value == second.value
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    write_model(Made(first), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) <= 280
    for text in ("w1 w2", "Ünïcödé — 日本 🙂", " a  b "):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=True).lstrip() == text.lstrip()
        assert tokenizer.convert_ids_to_tokens([ids[0], ids[-1]]) == ["<s>", "</s>"]
    assert tokenizer("w1", "w2")["input_ids"].count(tokenizer.sep_token_id) == 2
    # Words on their own are the tokens that they are in a text.
    assert (
        tokenizer(["w1", "w2"], is_split_into_words=True)["input_ids"]
        == (tokenizer("w1 w2")["input_ids"])
    )


@pytest.mark.parametrize("model_type", OBJECTIVES)
def test_every_architecture_learns_and_is_left_as_the_hub_has_it(
    model_type, context, inputs, tmp_path
):
    params = member(model_type, epochs=6)
    (result,) = pretrain(context, [params], inputs, {})
    vocabulary = inputs["tokenizer"].value["vocab_size"]
    assert result.value["validation_loss"] < 0.8 * math.log(vocabulary)
    folder = tmp_path / "model"
    folder.mkdir()
    write_model(Made(result), folder)
    heads = {"masked": AutoModelForMaskedLM, "causal": AutoModelForCausalLM}
    model = heads[OBJECTIVES[model_type]].from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    logits = model(**tokenizer("w3 w4", return_tensors="pt")).logits
    assert logits.shape[-1] == vocabulary == len(tokenizer)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    backbone = AutoModel.from_pretrained(folder)
    assert sum(w.numel() for w in backbone.parameters()) > 0
    assert (model.config.num_hidden_layers, model.config.hidden_size) == (2, 16)


@pytest.mark.parametrize("model_type", OBJECTIVES)
def test_a_plan_knows_of_a_model_what_is_found_once_it_is_made(
    model_type, context, inputs, tmp_path
):
    trial = settings(tmp_path, model_type=model_type, objective=OBJECTIVES[model_type])
    planned = PRETRAIN.made_model(trial, name="tiny", group="tiny").facts
    (result,) = pretrain(context, [member(model_type, epochs=1)], inputs, {})
    folder = tmp_path / "model"
    folder.mkdir()
    write_model(Made(result), folder)
    found = examine(folder)
    assert replace(found, max_length=16) == planned  # rotary positions have no table


def test_evaluation_gives_loss_perplexity_and_bits_a_byte(context, inputs):
    (made,) = pretrain(context, [member("gpt2")], inputs, {})
    given = {"model": Made(made), "blocks": inputs["blocks"], "texts": inputs["texts"]}
    (result,) = evaluate(context, [{}], given, {})
    metrics = result.value["metrics"]
    assert metrics["validation/loss"] == pytest.approx(made.value["validation_loss"], rel=1e-5)
    for split in ("validation", "test"):
        assert metrics[f"{split}/perplexity"] == pytest.approx(math.exp(metrics[f"{split}/loss"]))
        # A model that knows nothing needs log2(300) bits for each token.
        assert 0 < metrics[f"{split}/bits_per_byte"] < math.log2(300)
    assert result.value["curve"] == made.value["learning_curve"]
    assert "curve" not in made.value  # or every trial on this model had it in its own


def test_a_masked_model_is_measured_on_the_same_hidden_tokens_each_time(context, inputs):
    (made,) = pretrain(context, [member("bert")], inputs, {})
    given = {"model": Made(made), "blocks": inputs["blocks"], "texts": inputs["texts"]}
    first, second = (evaluate(context, [{}], given, {})[0].value["metrics"] for _ in range(2))
    assert first == second
    assert "test/bits_per_byte" not in first


@pytest.mark.parametrize("model_type", ["bert", "gpt2"])
@pytest.mark.parametrize("cut_after", [1, 7])
def test_training_that_was_cut_goes_on_to_the_same_bits(
    context, inputs, tmp_path, model_type, cut_after
):
    params = member(model_type)
    (undisturbed,) = pretrain(context, [params], inputs, {})
    store = Store(str(tmp_path / "cut"))
    checkpoint = CuttingCheckpoint(store, "1" * 64, 0)
    checkpoint.cut_after = cut_after
    for number, used in enumerate((checkpoint, StoreCheckpoint(store, "1" * 64, 0))):
        context.scratch = tmp_path / str(number)
        context.scratch.mkdir()
        context.checkpoint = lambda _, used=used: used
        if used is checkpoint:
            with pytest.raises(CutError):
                pretrain(context, [params], inputs, {})
        else:
            (resumed,) = pretrain(context, [params], inputs, {})
    assert resumed.value == undisturbed.value  # the digest of all weights is in it


def test_another_seed_is_another_model(context, inputs, tmp_path):
    (first,) = pretrain(context, [member("bert")], inputs, {})
    context.scratch = tmp_path
    (second,) = pretrain(context, [{**member("bert"), "seed": 2}], inputs, {})
    assert first.value["digest"] != second.value["digest"]


def test_a_loss_that_is_lost_is_told(context, inputs):
    with pytest.raises(DivergedError, match="step"):
        params = member("gpt2", learning_rate=1e20, warmup_ratio=0, max_grad_norm=0)
        pretrain(context, [params], inputs, {})


def settings(folder, **params):
    corpus = str(save_text(folder / "corpus.txt"))
    return TrialSettings(
        model=None,
        task=None,
        params=PretrainParams(**{"corpus": corpus, **SMALL, **params}),
        seed=0,
        folder=folder,
    )


@pytest.mark.parametrize(
    ("params", "key", "nearest"),
    [
        ({"hidden_size": 130, "num_attention_heads": 4}, "hidden_size", "128"),
        (
            {"hidden_size": 36, "num_attention_heads": 12, "model_type": "modernbert"},
            "hidden_size",
            "48",
        ),
        ({"model_type": "llama"}, "model_type", "bert"),
        ({"corpus": "bbc-newz"}, "corpus", "bbc-news"),
        ({"corpus": {"source": "./corpus.txtt"}}, "corpus.source", "corpus.txt"),
    ],
)
def test_what_cannot_be_trained_is_told_by_the_plan(tmp_path, params, key, nearest):
    with pytest.raises(InputError) as caught:
        PRETRAIN.graph(settings(tmp_path, **params))
    assert (caught.value.key, caught.value.nearest) == (key, nearest)


def stages(node):
    return {
        node.stage.name: node,
        **{k: v for i in node.inputs.values() for k, v in stages(i).items()},
    }


def test_variants_share_tokenizer_and_blocks(tmp_path):
    one, deep, causal, less = (
        stages(PRETRAIN.graph(settings(tmp_path, **params)))
        for params in ({}, {"num_hidden_layers": 3}, {"objective": "causal"}, {"train_size": 40})
    )
    for other in (deep, causal):
        assert other["language/blocks"].digest == one["language/blocks"].digest
        assert other["pretrain/train"].digest != one["pretrain/train"].digest
    assert less["pretrain/tokenizer"].digest == one["pretrain/tokenizer"].digest
    assert less["language/blocks"].digest != one["language/blocks"].digest


def test_the_same_architecture_said_in_two_ways_is_one_model(tmp_path):
    short = PRETRAIN.graph(settings(tmp_path))
    long = PRETRAIN.graph(settings(tmp_path, model_type="bert", intermediate_size=64))
    assert short.digest == long.digest


def test_the_test_texts_of_a_task_are_not_learnt_from(tmp_path):
    graph = PRETRAIN.graph(settings(tmp_path, corpus="bbc-news"))
    task = stages(graph)["transfer/load"].sources["task"]
    assert task.kind == "classification"  # its own splits, not others of the same texts
