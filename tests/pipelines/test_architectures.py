"""Every architecture through every method and kind of task: what is admitted trains, or is refused.

Nothing is refused that :func:`refused` does not foresee. A method or kind that is new joins on
its own; `MORE` has the params that a method needs beyond the common ones.
"""

import json

import pytest
import torch
from transformers import AutoModel

from cluster.job import Resources
from orchestrator.running.worker_context import WorkerContext
from pipelines.contract import InputError, load_object
from pipelines.models.anatomy import layers_of
from pipelines.models.backbone import warm_tokenizer
from pipelines.models.files import model_files
from pipelines.models.made import given
from pipelines.pipeline import TrialSettings
from pipelines.sources import Model, TaskKind, resolve_model, resolve_task
from pipelines.transfer.finetuning import new_learner
from pipelines.transfer.graph import TRANSFER
from pipelines.transfer.params import METHODS
from tests.pipelines.architectures import (
    ARCHITECTURES,
    BYTE_LEVEL_MODELS,
    DECODERS,
    IMAGE,
    TEXT,
    save_architecture,
    save_images,
)
from tests.pipelines.tiny import save_tagged, save_task

STEPS = 2
COMMON = {
    "train_size": 8,
    "validation_size": 4,
    "test_size": 4,
    "batch_size": 4,
    "epochs": 1,
    "max_length": 32,
    "adapt_epochs": 1,
    "adapt_batch_size": 8,
    "adapt_max_length": 32,
}
MORE: dict[str, dict] = {"distill": {"teacher": {"method": "probe", "epochs": 1}}}
"""Params by method, beyond the common ones."""


def refused(name, method, kind):
    """Return the param at which a plan refuses, or nothing where the trial is to run."""
    base = method.rpartition("+")[2]
    if kind.is_unlabelled and base in ("probe", "distill"):
        return "method"
    if kind.has_images is not (name in IMAGE):
        return "models"
    if kind.is_unlabelled and name not in DECODERS:
        return "models"
    if method.startswith("adapt+") and name in IMAGE:
        return "method"
    if base == "lora" and name == "resnet":
        return "method"
    return None


class Kept:
    """What a stage left behind, as a store would give it back."""

    def __init__(self, result, keep):
        self.keep = keep
        self.value = json.loads(json.dumps(result.value))
        self.arrays = result.arrays
        self._tables = result.tables

    def table(self, name):
        return self._tables[name]

    def array(self, name):
        return self.arrays[name]


class NoCheckpoint:
    """Keeps nothing."""

    def is_due(self):
        return False

    def load(self):
        return None


class Runner:
    """Runs graphs in this process; what two of them share runs once."""

    def __init__(self):
        self.context = WorkerContext(Resources())
        self.context.checkpoint = lambda member: NoCheckpoint()
        self._kept = {}

    def run(self, node):
        known = self._kept.get(node.digest)
        if known is None or not node.keep <= known.keep:
            inputs = {role: self.run(earlier) for role, earlier in node.inputs.items()}
            function = load_object(node.stage.function)
            self.context.keep = node.keep
            (result,) = function(self.context, [dict(node.params)], inputs, node.sources)
            self._kept[node.digest] = Kept(result, node.keep)
        return self._kept[node.digest]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache without any notes, so that every model is examined."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FANFLARE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def runner():
    return Runner()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Each architecture as a pinned model, saved once."""
    made = {}

    def get(name) -> Model:
        if name not in made:
            folder = save_architecture(tmp_path_factory.mktemp(name), name)
            made[name] = resolve_model({"name": name, "source": str(folder)}, folder)
        return made[name]

    return get


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """A small task of every kind."""
    folder = tmp_path_factory.mktemp("tasks")
    entries = {
        TaskKind.CLASSIFICATION: {"source": save_task(folder / "c.csv", 32)},
        TaskKind.REGRESSION: {"source": save_task(folder / "r.csv", 32, kind="number")},
        TaskKind.PAIR_CLASSIFICATION: {
            "source": save_task(folder / "pc.csv", 32, pair=True),
            "text_pair": "second",
        },
        TaskKind.PAIR_REGRESSION: {
            "source": save_task(folder / "pr.csv", 32, kind="number", pair=True),
            "text_pair": "second",
        },
        TaskKind.TOKEN_CLASSIFICATION: {
            "source": save_tagged(folder / "t.jsonl", 32),
            "text": "words",
            "label": "tags",
        },
        TaskKind.LANGUAGE_MODELING: {"source": folder / "c.csv"},
        TaskKind.IMAGE_CLASSIFICATION: {"source": save_images(folder / "images")},
    }
    return {
        kind: resolve_task(
            {"name": kind.value, "kind": kind, **entry, "source": str(entry["source"])}, folder
        )
        for kind, entry in entries.items()
    }


def params_of(method, kind=TaskKind.CLASSIFICATION, **more):
    schema = METHODS[method]
    given = {**COMMON, **MORE.get(method, {}), **more}
    if kind.has_images:
        del given["max_length"]  # an image has no tokens to count
    return schema(**{name: value for name, value in given.items() if name in schema.model_fields})


def graph(model, task, params):
    return TRANSFER.graph(TrialSettings(model=model, task=task, params=params, seed=0))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_what_the_plan_admits_trains_and_nothing_else_is_refused(
    runner, model, tasks, name, method
):
    assert set(tasks) == set(TaskKind)
    for kind, task in tasks.items():
        expected = refused(name, method, kind)
        if expected is not None:
            with pytest.raises(InputError) as refusal:
                graph(model(name), task, params_of(method, kind))
            assert refusal.value.key == expected, (kind, refusal.value)
            assert name in str(refusal.value) or method in str(refusal.value)
        else:
            last = graph(model(name), task, params_of(method, kind))
            metrics = runner.run(last).value["metrics"]
            assert {split.partition("/")[0] for split in metrics} == {"validation", "test"}
            trained = runner.run(last.inputs["predictions"])
            assert trained.value["curve"][-1]["step"] >= STEPS, kind


# The parts of each model


def learner(runner, model, method, **params):
    files = model_files(runner.context, given(model).sources, {})
    member = {**params_of(method, **params).model_dump(mode="json"), "seed": 0}
    return new_learner(runner.context, files, member, 2)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_layers_found_are_those_of_the_configuration(model, name):
    backbone = AutoModel.from_pretrained(model(name).source.location)
    config = ARCHITECTURES[name].config
    configured = getattr(config, "num_hidden_layers", None) or len(config.depths)
    assert len(layers_of(backbone)[1]) == configured == ARCHITECTURES[name].num_layers


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_partial_leaves_the_upper_layers_free_and_no_table_of_embeddings(runner, model, name):
    free = learner(runner, model(name), "partial", frozen_layers=1).module["backbone"]
    list_name, layers = layers_of(free)
    for weight in layers[0].parameters():
        assert not weight.requires_grad
    assert all(weight.requires_grad for layer in layers[1:] for weight in layer.parameters())
    outside = [
        weight_name
        for weight_name, weight in free.named_parameters()
        if weight.requires_grad and not weight_name.startswith(f"{list_name}.")
    ]
    assert not any(
        "embed" in part or part in ("wte", "wpe") for part in ".".join(outside).split(".")
    )


@pytest.mark.parametrize("name", TEXT)
def test_what_is_frozen_keeps_its_bits_and_the_rest_moves(runner, model, tasks, name):
    last = graph(model(name), tasks[TaskKind.CLASSIFICATION], params_of("partial", frozen_layers=1))
    node = last.inputs["predictions"]
    trainings = load_object("pipelines.transfer.finetuning:trainings")
    inputs = {role: runner.run(earlier) for role, earlier in node.inputs.items()}
    ((trained, _),) = trainings(runner.context, [dict(node.params)], inputs, node.sources)
    backbone = trained.module["backbone"]
    before = AutoModel.from_pretrained(model(name).source.location, dtype=torch.float32)
    list_name, _ = layers_of(backbone)
    weights = dict(before.named_parameters())
    changed = {n for n, w in backbone.named_parameters() if not torch.equal(w, weights[n])}
    frozen = {n for n, w in backbone.named_parameters() if not w.requires_grad}
    assert not changed & frozen
    assert any(n.startswith(f"{list_name}.1.") for n in changed)


def test_frozen_batch_normalisation_keeps_its_statistics(runner, model):
    partly = learner(runner, model("resnet"), "partial", frozen_layers=1)
    backbone = partly.module["backbone"]
    before = {name: buffer.clone() for name, buffer in backbone.named_buffers()}
    partly.begin_training()
    backbone(torch.randn(4, 3, 16, 16))
    changed = {n for n, buffer in backbone.named_buffers() if not torch.equal(buffer, before[n])}
    assert changed
    assert not any(n.startswith(("embedder", "encoder.stages.0.")) for n in changed)


def test_what_lies_below_frozen_layers_draws_no_dropout(runner, model):
    partly = learner(runner, model("gpt2"), "partial", frozen_layers=1)
    partly.begin_training()
    backbone = partly.module["backbone"]
    assert not backbone.drop.training  # it stands beside the layers, and has no weights
    assert not backbone.h[0].attn.training
    assert backbone.h[1].attn.training


@pytest.mark.parametrize("target", ["attention", "all-linear"])
@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "resnet"])
def test_lora_trains_rank_times_in_and_out_of_each_map(runner, model, name, target):
    before = dict(AutoModel.from_pretrained(model(name).source.location).named_modules())
    adapted = learner(runner, model(name), "lora", rank=3, target_modules=target)
    free = {n: w for n, w in adapted.module["backbone"].named_parameters() if w.requires_grad}
    assert all(".lora_" in weight_name for weight_name in free)
    targets = {weight_name.partition(".lora_")[0] for weight_name in free}
    architecture = ARCHITECTURES[name]
    per_layer = architecture.attention if target == "attention" else architecture.linear
    assert len(targets) == per_layer * architecture.num_layers
    expected = sum(3 * sum(before[module].weight.shape) for module in targets)
    assert sum(weight.numel() for weight in free.values()) == expected
    trained = sum(w.numel() for group in adapted.groups for w in group["params"])
    assert trained == expected + sum(w.numel() for w in adapted.module["head"].parameters())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_layer_learns_more_slowly_than_the_one_above(runner, model, name):
    decayed = learner(runner, model(name), "full", learning_rate=1.0, layer_decay=0.5)
    rates = {id(w): group["lr"] for group in decayed.groups for w in group["params"]}
    backbone = decayed.module["backbone"]
    assert {id(weight) for weight in backbone.parameters()} < set(rates)
    _, layers = layers_of(backbone)
    of_layers = [{rates[id(w)] for w in layer.parameters()} for layer in layers]
    assert of_layers == [{0.5 ** (len(layers) - n)} for n in range(len(layers))]
    embeddings = [m for m in backbone.modules() if isinstance(m, torch.nn.Embedding)]
    assert {rates[id(m.weight)] for m in embeddings} <= {0.5 ** (len(layers) + 1)}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_scratch_has_fresh_weights_of_single_precision(runner, model, name):
    fresh = learner(runner, model(name), "scratch").module["backbone"]
    saved = AutoModel.from_pretrained(model(name).source.location, dtype=torch.float32)
    assert {weight.dtype for weight in fresh.parameters()} == {torch.float32}
    for list_of in (layers_of(fresh)[1], layers_of(saved)[1]):
        assert len(list_of) == ARCHITECTURES[name].num_layers
    matrices = [
        (weight, dict(saved.named_parameters())[weight_name])
        for weight_name, weight in layers_of(fresh)[1].named_parameters(prefix=layers_of(fresh)[0])
        if weight.dim() > 1
    ]
    assert matrices
    assert not any(torch.equal(new, old) for new, old in matrices)


@pytest.mark.parametrize("name", BYTE_LEVEL_MODELS)
def test_words_of_a_byte_level_tokenizer_keep_their_space(runner, model, tasks, name):
    last = graph(model(name), tasks[TaskKind.TOKEN_CLASSIFICATION], params_of("full"))
    prepared = runner.run(last.inputs["predictions"].inputs["prepared"]).table("train")
    files = model_files(runner.context, given(model(name)).sources, {})
    tokenizer = warm_tokenizer(runner.context, files)
    for ids, firsts in zip(prepared["input_ids"], prepared["first_tokens"], strict=True):
        pieces = tokenizer.convert_ids_to_tokens(ids.as_py())
        assert all(pieces[first].startswith("Ġ") for first in firsts.as_py() if first >= 0)
