"""What each method leaves free, and training that is cut and goes on."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModel

from cluster.store import Store
from orchestrator.running.checkpoint import StoreCheckpoint
from pipelines.contract import InputError
from pipelines.models.anatomy import depth_of_weights, layers_of, linear_layers
from pipelines.models.files import model_files
from pipelines.models.token_batches import TokenBatches
from pipelines.sources import resolve_model
from pipelines.training.learner import Learner
from pipelines.training.loop import train
from pipelines.transfer.data.tokenization import tokenize
from pipelines.transfer.examples import FeatureExamples, PreparedExamples, new_head
from pipelines.transfer.finetuning import finetune, new_learner
from pipelines.transfer.params import METHODS
from tests.pipelines.cohorts import context_on
from tests.pipelines.test_transfer import Fake
from tests.pipelines.tiny import WORDS, save_bert

ROWS = 40


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = save_bert(tmp_path_factory.mktemp("model"), layers=4)
    return resolve_model({"name": "tiny", "source": str(folder)}, folder)


@pytest.fixture
def context(tmp_path):
    return context_on("cpu", tmp_path)


@pytest.fixture
def files(context, model):
    return model_files(context, {"model": model}, {})


def member(method, **params):
    """Return a method's params as a stage gets them."""
    schema = METHODS[method]
    short = {"epochs": 2, "batch_size": 8, "precision": "fp32"}
    return {**schema(**{**short, **params}).model_dump(), "seed": 1}


@pytest.fixture
def tokens(context, model):
    """The tokens of an invented task whose label is its first word."""
    draw = np.random.default_rng(0)
    tables = {}
    for split in ("train", "validation", "test"):
        labels = draw.integers(0, 2, ROWS)
        first = [draw.choice(WORDS["good" if label else "bad"]) for label in labels]
        rest = [" ".join(draw.choice(WORDS["any"], draw.integers(1, 8))) for _ in labels]
        texts = [f"{word} {more}" for word, more in zip(first, rest, strict=True)]
        tables[split] = pa.table(
            {"row": range(ROWS), "label": labels.astype(np.int32), "text": texts}
        )
    value = {"labels": ["bad", "good"], "kind": "classification", "num_rows": {}}
    examples = Fake(value, tables)
    (result,) = tokenize(context, [{"max_length": 32}], {"examples": examples}, {"model": model})
    return Fake(result.value, result.tables)


def test_partial_trains_the_upper_layers_only(context, files):
    for frozen in (0, 1, 3, 0.5, 4):
        learner = new_learner(context, files, member("partial", frozen_layers=frozen), 2)
        count = int(frozen * 4) if frozen < 1 and frozen else int(frozen)
        for name, weight in learner.module["backbone"].named_parameters():
            part = name.split(".")
            is_below = part[0] == "embeddings" or (part[0] == "encoder" and int(part[2]) < count)
            assert weight.requires_grad is not is_below, (frozen, name)


def test_a_frozen_layers_bits_do_not_change(context, files, tokens):
    params = member("partial", frozen_layers=2)
    learner = new_learner(context, files, params, 2)
    before = {name: weight.clone() for name, weight in learner.module.state_dict().items()}
    table = tokens.table("train")
    examples = PreparedExamples(
        TokenBatches(table, tokens.value["pad_id"], "cpu"),
        torch.tensor(table["label"].to_numpy(), dtype=torch.int64),
    )
    train(learner, examples, examples, params)
    after = learner.module.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[3] for name in changed if ".layer." in name} == {"2", "3"}
    assert not any("embeddings" in name for name in changed)


def test_more_frozen_layers_than_there_are_is_told(context, files):
    with pytest.raises(InputError, match="has 4"):
        new_learner(context, files, member("partial", frozen_layers=5), 2)


@pytest.mark.parametrize(("target", "per_layer"), [("attention", 4), ("all-linear", 6)])
def test_lora_trains_adapters_of_the_given_rank_and_nothing_else(context, files, target, per_layer):
    learner = new_learner(context, files, member("lora", rank=3, target_modules=target), 2)
    free = {n: w for n, w in learner.module["backbone"].named_parameters() if w.requires_grad}
    assert all("lora_" in name for name in free)
    assert len(free) == 2 * per_layer * 4
    assert all(3 in weight.shape for weight in free.values())
    given = {id(weight) for group in learner.groups for weight in group["params"]}
    assert {id(weight) for weight in free.values()} < given


def test_scratch_depends_on_the_seed_and_not_on_the_pretrained_weights(context, files, model):
    one, two, other = (
        new_learner(context, files, {**member("scratch"), "seed": seed}, 2).module.state_dict()
        for seed in (1, 1, 2)
    )
    name = "backbone.encoder.layer.0.attention.self.query.weight"
    pretrained = AutoModel.from_pretrained(model.source.location).state_dict()
    assert torch.equal(one[name], two[name])
    assert not torch.equal(one[name], other[name])
    assert not torch.equal(one[name], pretrained[name.removeprefix("backbone.")])


def test_layer_decay_lowers_the_rate_of_each_layer_below(context, files):
    learner = new_learner(context, files, member("full", learning_rate=1.0, layer_decay=0.5), 2)
    rates = [group["lr"] for group in learner.groups[:-1]]
    assert rates == [0.5**5, 0.5**4, 0.5**3, 0.5**2, 0.5, 1.0]


def test_the_parts_of_a_model_are_found_by_looking(model):
    backbone = AutoModel.from_pretrained(model.source.location)
    name, layers = layers_of(backbone)
    assert (name, len(layers)) == ("encoder.layer", 4)
    depths, top = depth_of_weights(backbone)
    assert top == 5
    assert depths["embeddings.word_embeddings.weight"] == 0
    assert depths["pooler.dense.weight"] == 5
    assert len(linear_layers(backbone, attention_only=True)) == 16
    upper = linear_layers(backbone, attention_only=True, frozen_layers=0.75)
    assert {name.split(".")[2] for name in upper} == {"3"}


class CutError(Exception):
    """Stands for a power cut."""


class CuttingCheckpoint(StoreCheckpoint):
    """Saves at every step and is cut after some."""

    cut_after = 3

    def is_due(self):
        return True

    def save(self, arrays, value):
        super().save(arrays, value)
        self.cut_after -= 1
        if not self.cut_after:
            raise CutError


@pytest.mark.parametrize("method", ["full", "lora", "scratch"])
@pytest.mark.parametrize("cut_after", [1, 5, 8])
def test_training_that_was_cut_goes_on_to_the_same_bits(
    context, model, tokens, tmp_path, method, cut_after
):
    params = member(method, patience=5, dropout=0.1) if method == "lora" else member(method)
    arguments = ([params], {"prepared": tokens}, {"model": model})
    (undisturbed,) = finetune(context, *arguments)
    store = Store(str(tmp_path / "cut"))
    checkpoint = CuttingCheckpoint(store, "1" * 64, 0)
    checkpoint.cut_after = cut_after
    context.checkpoint = lambda _: checkpoint
    with pytest.raises(CutError):
        finetune(context, *arguments)
    context.checkpoint = lambda member: StoreCheckpoint(store, "1" * 64, member)
    (resumed,) = finetune(context, *arguments)
    assert resumed.tables["predictions"].equals(undisturbed.tables["predictions"])
    assert resumed.value["curve"] == undisturbed.value["curve"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_training_that_was_cut_draws_the_same_dropout_on_an_accelerator(model, tokens, tmp_path):
    context = context_on("cuda", tmp_path)
    arguments = ([member("full")], {"prepared": tokens}, {"model": model})
    (undisturbed,) = finetune(context, *arguments)
    checkpoint = CuttingCheckpoint(Store(str(tmp_path / "cut")), "1" * 64, 0)
    context.checkpoint = lambda _: checkpoint
    with pytest.raises(CutError):
        finetune(context, *arguments)
    (resumed,) = finetune(context, *arguments)
    for point, twin in zip(resumed.value["curve"], undisturbed.value["curve"], strict=True):
        assert point == pytest.approx(twin, abs=1e-3), "the order of sums, and no other stream"


def test_patience_stops_early_and_keeps_the_best_epoch(context, model, tokens):
    params = member("full", learning_rate=3e-2, epochs=30, patience=2, warmup_ratio=0)
    (result,) = finetune(context, [params], {"prepared": tokens}, {"model": model})
    losses = [p["validation_loss"] for p in result.value["curve"] if "validation_loss" in p]
    assert len(losses) < 30
    assert len(losses) - 1 - int(np.argmin(losses)) == 2


def test_accumulated_batches_are_one_large_batch():
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(40, 8, generator=draw)
    examples = FeatureExamples(features, (features[:, 0] > 0).long())
    heads = []
    for batch_size, accumulated in ((20, 1), (5, 4)):
        params = member(
            "full", epochs=3, batch_size=batch_size, gradient_accumulation_steps=accumulated
        )
        head = new_head(8, 2, seed=0)
        learner = Learner(forward=head, module=head, groups=[{"params": list(head.parameters())}])
        train(learner, examples, examples, params)
        heads.append(head)
    torch.testing.assert_close(heads[0].weight, heads[1].weight)
