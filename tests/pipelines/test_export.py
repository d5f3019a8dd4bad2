"""An export gives the trial's own predictions, wherever it is loaded; what cannot be is refused."""

import json
import re

import numpy as np
import pyarrow.compute as pc
import pytest
import torch
import transformers
import yaml
from safetensors import safe_open
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import pipelines.transfer.export.exported
from orchestrator import run
from orchestrator.errors import ExportError, UnknownNameError
from orchestrator.running.export import ExportOptions, export_trial
from orchestrator.running.trial_logs import find_trial
from pipelines.contract import InputError
from pipelines.exports import Agreement
from pipelines.transfer.export.exported_model import PooledTextClassifier, PooledTextConfig
from tests.cli import fanflare, sweep_file, toy_file
from tests.cli import run as run_file
from tests.pipelines.exporting import elsewhere
from tests.pipelines.stranger import predict
from tests.pipelines.tiny import save_bert, save_task

__all__ = ["fanflare", "run_file", "toy_file"]  # fixtures

METHODS = [
    {"method": "probe", "pooling": "cls", "learning_rate": 0.05, "epochs": 5, "max_length": 10},
    {"method": "full", "pooling": "mean", "learning_rate": 1e-3, "epochs": 2, "max_length": 10},
    {"method": "lora", "pooling": "max", "learning_rate": 1e-2, "epochs": 2, "max_length": 10},
    {"method": "partial", "tasks": "classes", "epochs": 1},
    {"method": "scratch", "tasks": "classes", "epochs": 1},
]
CASES = [
    *((task, method) for task in ("classes", "numbers", "pairs") for method in ("probe", "full")),
    *((task, "lora") for task in ("classes", "numbers", "pairs")),
    ("classes", "partial"),
    ("classes", "scratch"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("export")


@pytest.fixture(scope="module")
def swept(folder):
    """A finished sweep, its file, and where its results are."""
    content = {
        "name": "tiny",
        "models": {"name": "tiny-bert", "source": str(save_bert(folder / "bert"))},
        "tasks": [
            {"name": "classes", "source": str(save_task(folder / "classes.csv"))},
            {"name": "numbers", "source": str(save_task(folder / "numbers.csv", kind="number"))},
            {
                "name": "pairs",
                "source": str(save_task(folder / "pairs.csv", pair=True)),
                "text_pair": "second",
            },
        ],
        "train_size": 64,
        "validation_size": 32,
        "test_size": 32,
        "seeds": 2,
        "space": METHODS,
        "tracking": "off",
    }
    path = sweep_file(folder, content)
    return run(path, backend="inline", store=str(folder / "store"))


@pytest.fixture(scope="module")
def store(folder, swept):
    return str(folder / "store")


@pytest.fixture(scope="module")
def exported(folder, swept, store):
    """Export the trial of seed 1 of a task and method, once."""
    known = {}

    def get(task, method, **options):
        key = (task, method, *options)
        if key not in known:
            target = folder / "-".join(map(str, key))
            known[key] = export_trial(
                trial_id(swept, task, method), target, ExportOptions(store=store, **options)
            )
        return known[key]

    return get


def trial_id(report, task, method, seed=1):
    (found,) = (
        result.trial.id
        for result in report.results
        if (result.trial.task, result.trial.method, result.trial.seed) == (task, method, seed)
    )
    return found


def kept(store, trial_prefix):
    """Return the texts of the test rows and what the trial kept: answers and their scores."""
    trial, workspace = find_trial(trial_prefix, store=store)
    records = workspace.store.find(trial.stages)
    opened = {r.stage: workspace.store.open(r) for r in records.values()}
    trained = opened.get("transfer/probe") or opened["transfer/finetune"]
    table = trained.table("predictions")
    table = table.filter(pc.equal(table["split"], "test"))
    texts = opened["transfer/load"].table("test")
    assert texts["row"].to_pylist() == table["row"].to_pylist()
    columns = [name for name in ("text", "text_pair") if name in texts.column_names]
    predictions = table["prediction"].to_pylist()
    labels = trained.value["labels"]
    if labels is None:
        return texts.select(columns).to_pylist(), None, np.array(predictions)
    scores = torch.tensor(table["scores"].to_pylist()).softmax(-1).amax(-1).numpy()
    return texts.select(columns).to_pylist(), [labels[index] for index in predictions], scores


def check(pipeline, store, prefix):
    """Compare a loaded pipeline with what the trial kept."""
    texts, answers, scores = kept(store, prefix)
    given = pipeline(texts)
    np.testing.assert_allclose([answer["score"] for answer in given], scores, atol=1e-5)
    if answers is not None:
        assert [answer["label"] for answer in given] == answers
    batched = pipeline(texts, batch_size=8)
    np.testing.assert_allclose([a["score"] for a in batched], scores, atol=1e-5)


@pytest.mark.parametrize(("task", "method"), CASES)
def test_the_loaded_pipeline_gives_the_trials_own_predictions(exported, store, task, method):
    done = exported(task, method)
    pipeline = transformers.pipeline(
        "text-classification", model=str(done.folder), tokenizer=str(done.folder), truncation=True
    )
    assert type(pipeline.model) is PooledTextClassifier
    check(pipeline, store, done.trial)
    assert done.verification.reloaded.is_close
    assert done.verification.reloaded.num_rows == 32
    if method == "probe":
        assert done.verification.retrained is None
    else:
        assert done.verification.retrained == Agreement(
            num_rows=64, num_same=64, max_difference=0.0
        )


@pytest.mark.parametrize("task", ["numbers", "pairs"])
def test_the_folder_loads_where_fanflare_is_not(exported, store, task):
    done = exported(task, "full")
    texts, _, scores = kept(store, done.trial)
    making = {
        "task": "text-classification",
        "model": str(done.folder),
        "tokenizer": str(done.folder),
        "truncation": True,
        "trust_remote_code": True,
    }
    given = [answer["score"] for answer in elsewhere(predict, texts, {}, **making)]
    np.testing.assert_allclose(given, scores, atol=1e-5)


def test_an_adapter_is_kept_apart_on_request(exported, store, folder):
    done = exported("classes", "lora", merge=False)
    pipeline = pipelines.transfer.export.exported.load(done.folder, base=folder / "bert")
    check(pipeline, store, done.trial)
    assert not (done.folder / "model.safetensors").exists()
    peft = pytest.importorskip("peft")
    base = transformers.AutoModel.from_pretrained(folder / "bert")
    adapted = peft.PeftModel.from_pretrained(base, str(done.folder))
    merged = exported("classes", "lora").folder
    whole = AutoModelForSequenceClassification.from_pretrained(merged)
    inputs = AutoTokenizer.from_pretrained(merged)("fine warm film", return_tensors="pt")
    with torch.inference_mode():
        torch.testing.assert_close(
            adapted.eval()(**inputs).last_hidden_state,
            whole.backbone(**inputs).last_hidden_state,
            atol=1e-5,
            rtol=1e-5,
        )


def test_a_merged_adapter_leaves_the_plain_architecture(exported):
    with safe_open(exported("classes", "lora").folder / "model.safetensors", "np") as weights:
        assert not any("lora" in name or "base_layer" in name for name in weights.keys())  # noqa: SIM118


def test_the_second_export_trains_nothing(swept, store, tmp_path, exported):
    exported("classes", "full")
    trial = trial_id(swept, "classes", "full")
    again = export_trial(trial[:8], tmp_path / "again", ExportOptions(store=store))
    assert again.trained_s == 0
    assert again.num_bytes > 10_000


def test_an_export_leaves_the_trials_and_their_ids_alone(swept, store, folder, exported):
    exported("classes", "full")
    report = run(folder / "sweep.yaml", backend="inline", store=store)
    assert report.num_reused == len(report.results)
    assert [r.trial.id for r in report.results] == [r.trial.id for r in swept.results]


@pytest.mark.parametrize(("task", "method"), [("classes", "probe"), ("numbers", "full")])
def test_the_card_says_where_the_model_comes_from(exported, swept, folder, task, method):
    done = exported(task, method)
    text = (done.folder / "README.md").read_text()
    _, front, page = text.split("---\n", 2)
    front = yaml.safe_load(front)
    assert front["library_name"] == "transformers"
    assert front["pipeline_tag"] == "text-classification"
    assert "license" not in front, "nobody stated one"
    results = front["model-index"][0]["results"]
    (own,) = (r for r in swept.results if r.trial.id == done.trial)
    values = {r["dataset"]["split"]: r["metrics"][0]["value"] for r in results}
    assert values == {split: own.score(split) for split in ("validation", "test")}
    for said in (done.trial, "tiny-bert", "| 2 |", " ± ", "Trained on 64 rows", "name: tiny"):
        assert said in page or said.replace("name: tiny", '"name": "tiny"') in page, said
    assert not re.search(r"\{\w+\}", page.split("## The sweep")[0].replace('{"text', ""))
    facts = json.loads((done.folder / "fanflare.json").read_text())
    assert facts["facts"]["id"] == done.trial
    config = (done.folder / "config.json").read_text()
    assert str(folder) not in config, "a path of this machine"


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("distilbert", {"dim": 16, "hidden_dim": 32, "n_layers": 2, "n_heads": 2}),
        ("roberta", {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}),
        ("gpt2", {"n_embd": 16, "n_layer": 2, "n_head": 2}),
        ("modernbert", {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}),
        ("llama", {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}),
    ],
)
def test_any_architecture_is_the_same_after_saving(kind, sizes, tmp_path):
    special = dict.fromkeys(
        ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0
    )
    layers = {} if "n_layer" in sizes or "n_layers" in sizes else {"num_hidden_layers": 2}
    inner = transformers.AutoConfig.for_model(kind, vocab_size=30, **sizes, **layers, **special)
    torch.manual_seed(0)
    model = PooledTextClassifier(PooledTextConfig(backbone=inner.to_dict(), num_labels=3)).eval()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    inputs = {
        "input_ids": torch.tensor([[5, 6, 7, 8], [9, 4, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]),
    }
    with torch.inference_mode():
        one, two = model(**inputs), loaded(**inputs, labels=torch.tensor([0, 2]))
    assert torch.equal(one.logits, two.logits)
    assert one.loss is None
    assert two.loss > 0


def test_an_adapter_apart_is_for_lora_only(swept, store, tmp_path):
    options = ExportOptions(store=store, merge=False)
    with pytest.raises(ExportError, match="'full' has no adapter"):
        export_trial(trial_id(swept, "classes", "full"), tmp_path / "out", options)
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_nothing_half_written(swept, store, tmp_path, monkeypatch):
    def broken(*_):
        raise InputError("the card cannot be written")

    monkeypatch.setattr("pipelines.transfer.export.exporting.write_card", broken)
    target = tmp_path / "out"
    with pytest.raises(ExportError, match="the card cannot be written"):
        export_trial(trial_id(swept, "classes", "probe"), target, ExportOptions(store=store))
    assert not list(tmp_path.iterdir())


def test_an_unknown_trial_is_told(store, tmp_path):
    with pytest.raises(UnknownNameError, match="zzz"):
        export_trial("zzz", tmp_path / "out", ExportOptions(store=store))


# The command line


def test_the_command_says_what_it_wrote(fanflare, swept, store, tmp_path):
    trial = trial_id(swept, "classes", "probe")
    target = tmp_path / "deep" / "out"
    ended = fanflare("export", trial[:10], target, "--store", store)
    assert ended.code == 0, ended.err
    assert trial in ended.out
    assert "32 of 32 predictions are the trial's own" in ended.out
    assert [path.name for path in target.parent.iterdir()] == ["out"]


def test_a_folder_with_something_in_it_is_left_alone(fanflare, swept, store, tmp_path):
    trial = trial_id(swept, "classes", "probe")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years")
    for options in ([], ["--force"]):
        ended = fanflare("export", trial, mine, "--store", store, *options)
        assert ended.code == 2
        assert "not empty" in ended.err or "was not written by an export" in ended.err
        assert [path.name for path in mine.iterdir()] == ["thesis.txt"]
    ended = fanflare("export", trial, mine / "thesis.txt", "--store", store)
    assert ended.code == 2
    assert "is a file" in ended.err


def test_force_replaces_an_earlier_export(fanflare, swept, store, tmp_path):
    target = tmp_path / "out"
    for method, options in (("probe", []), ("partial", ["--force"])):
        trial = trial_id(swept, "classes", method, seed=0)
        ended = fanflare("export", trial, target, "--store", store, *options)
        assert ended.code == 0, ended.err
        assert ("training the trial again" in ended.err) is (method == "partial")
        assert json.loads((target / "fanflare.json").read_text())["facts"]["id"] == trial
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_trial_that_has_not_finished_is_told(fanflare, swept, folder, tmp_path):
    trial = trial_id(swept, "classes", "probe")
    empty = tmp_path / "store"
    ended = fanflare(
        "export", trial, tmp_path / "o", "--sweep", folder / "sweep.yaml", "--store", empty
    )
    assert ended.code == 2
    assert "is SCHEDULED" in ended.err
    assert "fanflare run" in ended.err
    assert not (tmp_path / "o").exists()


def test_a_pipeline_without_export_is_told(fanflare, run_file, toy_file, toy, tmp_path):
    file = toy_file({"value": 1})
    assert run_file(file).code == 0
    trial = find_trial("", str(file))[0].id
    ended = fanflare("export", trial, tmp_path / "out", "--sweep", file)
    assert ended.code == 2
    assert "nothing to export" in ended.err
    assert not (tmp_path / "out").exists()
