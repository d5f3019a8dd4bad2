"""The pipeline `transfer` on a tiny model: what each stage computes, and what it must not see."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, get_scheduler

from cluster.job import Resources
from cluster.store import Store
from orchestrator import run
from orchestrator.running.checkpoint import StoreCheckpoint
from orchestrator.running.worker_context import WorkerContext
from orchestrator.running.workspace import open_sweep
from pipelines.contract import DivergedError
from pipelines.models.backbone import pool
from pipelines.training.loop import learning_rate_factors
from pipelines.transfer.finetuning import finetune
from pipelines.transfer.params import FullParams
from pipelines.transfer.probing import probe
from tests.pipelines.tiny import save_bert, save_task

SIZES = {"train_size": 64, "validation_size": 32, "test_size": 32}
PROBE = {
    "learning_rate": 0.05,
    "epochs": 5,
    "batch_size": 16,
    "weight_decay": 0.01,
    "schedule": "linear",
    "warmup_ratio": 0.0,
    "max_grad_norm": 1.0,
}
FULL = FullParams(learning_rate=1e-3, epochs=8, batch_size=16).model_dump()


class Fake:
    """An artifact in memory."""

    def __init__(self, value, tables=None, arrays=None):
        self.value = value
        self._tables = tables or {}
        self._arrays = arrays or {}

    def table(self, name):
        return self._tables[name]

    def array(self, name):
        return self._arrays[name]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_bert(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def swept(bert, tmp_path_factory):
    """A finished sweep of all methods over three kinds of task, and its store."""
    folder = tmp_path_factory.mktemp("sweep")
    sweep = {
        "name": "tiny",
        "models": {"name": "tiny-bert", "source": str(bert)},
        "tasks": [
            {"name": "classes", "source": str(save_task(folder / "classes.csv"))},
            {
                "name": "numbers",
                "source": str(save_task(folder / "numbers.csv", kind="number")),
            },
            {
                "name": "pairs",
                "source": str(save_task(folder / "pairs.csv", pair=True)),
                "text_pair": "second",
            },
        ],
        **SIZES,
        "seeds": 2,
        "space": [
            {"method": "probe", "pooling": ["mean", "cls", "max"], **PROBE},
            {"method": "full", "learning_rate": 1e-3, "epochs": 2, "batch_size": 16},
        ],
        "tracking": "off",
    }
    store = str(folder / "store")
    return run(sweep, backend="inline", store=store), open_sweep(sweep, store)


def artifact(workspace, stage, task, **params):
    """Return the artifact of one stage of one task's trials."""
    for trial in workspace.trials:
        if trial.task != task or any(trial.params[key] != value for key, value in params.items()):
            continue
        for digest in trial.stages:
            if workspace.nodes[digest].stage.name == f"transfer/{stage}":
                record = workspace.store.find([digest])[digest]
                return workspace.store.open(record)
    raise AssertionError(f"no stage {stage} of {task}")


def test_every_kind_of_task_and_method_gives_its_metrics(swept):
    report, _ = swept
    assert report.counts == {"FINISHED": 24}
    rows = report.table().to_pylist()
    for row in rows:
        names = {"accuracy", "f1", "f1_macro", "matthews_corrcoef"}
        if row["task"] == "numbers":
            names = {"pearson", "spearmanr", "mean_squared_error"}
        for split in ("validation", "test"):
            assert all(row[f"{split}/{name}"] is not None for name in names), row


def test_a_probe_learns_what_can_be_read_off_the_words(swept):
    report, _ = swept
    best = {task: rows[0] for task, rows in report.leaderboard.tasks.items()}
    assert best["classes"].scores["test"].mean > 0.75
    assert best["numbers"].scores["test"].mean > 0.75


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_features_are_those_of_the_model_run_on_each_text_alone(swept, bert, pooling):
    _, workspace = swept
    features = artifact(workspace, "encode", "pairs", method="probe", pooling=pooling)
    examples = artifact(workspace, "load", "pairs").table("test")
    tokenizer = AutoTokenizer.from_pretrained(bert)
    model = AutoModel.from_pretrained(bert).eval()
    for row in range(0, 32, 7):
        text, second = examples["text"][row].as_py(), examples["text_pair"][row].as_py()
        inputs = tokenizer(text, second, return_tensors="pt")
        with torch.inference_mode():
            hidden = model(**inputs).last_hidden_state[0]  # (length, width)
        alone = {"mean": hidden.mean(0), "cls": hidden[0], "max": hidden.amax(0)}[pooling]
        np.testing.assert_allclose(features.array("test/features")[row], alone, atol=1e-5)


def test_padding_does_not_change_a_pooled_vector():
    hidden = torch.randn(2, 5, 8)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    for pooling in ("mean", "cls", "max"):
        short = pool(hidden[1:, :3], mask[1:, :3], pooling)
        torch.testing.assert_close(pool(hidden, mask, pooling)[1:], short)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(swept, bert, tmp_path):
    first, workspace = swept
    again = run({**workspace.file.data}, backend="inline", store=str(tmp_path / "store"))

    def numbers(report, seed):
        return [
            sorted(result.metrics.items()) for result in report.results if result.trial.seed == seed
        ]

    assert numbers(first, 0) == numbers(again, 0)
    assert numbers(first, 1) == numbers(again, 1)
    assert numbers(first, 0) != numbers(first, 1)


def test_stages_that_differ_in_nothing_run_once(swept):
    _, workspace = swept
    names = [node.stage.name for node in workspace.nodes.values()]
    assert names.count("transfer/inspect") == 1
    assert names.count("transfer/load") == 3
    assert names.count("transfer/tokenize") == 3
    assert names.count("transfer/encode") == 9


def features(labels, seed=0, rows=48, width=8):
    """Return features from which the labels can be learnt."""
    draw = np.random.default_rng(seed)
    arrays = {}
    for split in ("train", "validation", "test"):
        x = draw.normal(size=(rows, width)).astype(np.float32)
        y = (x[:, 0] > 0).astype(np.int32) if labels else x[:, 0] * 40.0 + 100.0
        arrays |= {
            f"{split}/features": x,
            f"{split}/labels": y,
            f"{split}/rows": np.arange(rows),
        }
    return Fake({"labels": labels}, arrays=arrays)


def lone_context(store):
    """Return a context as a worker gives it to a stage."""
    context = WorkerContext(Resources())
    context.checkpoint = lambda member: StoreCheckpoint(store, "lone", member)
    return context


def train_probe(source, *members):
    context = WorkerContext(Resources())
    return probe(context, [{**PROBE, **member} for member in members], {"features": source}, {})


def test_a_member_gets_what_it_would_get_alone():
    source = features(["no", "yes"])
    members = [{"seed": 3}, {"seed": 4, "learning_rate": 0.01}, {"seed": 3, "epochs": 2}]
    together = train_probe(source, *members)
    for member, result in zip(members, together, strict=True):
        (alone,) = train_probe(source, member)
        assert alone.tables["predictions"].equals(result.tables["predictions"])
        assert alone.value["curve"] == result.value["curve"]


def test_training_never_looks_at_the_test_split():
    source = features(["no", "yes"])
    (before,) = train_probe(source, {"seed": 0})
    source._arrays["test/labels"] = 1 - source._arrays["test/labels"]
    source._arrays["test/features"] = source._arrays["test/features"] * 100
    (after,) = train_probe(source, {"seed": 0})
    np.testing.assert_array_equal(before.arrays["weight"], after.arrays["weight"])
    assert before.value["curve"] == after.value["curve"]


def test_numbers_are_predicted_in_their_own_unit():
    (result,) = train_probe(features(None), {"seed": 0, "epochs": 60})
    table = result.tables["predictions"]
    error = table["label"].to_numpy() - table["prediction"].to_numpy()
    assert np.abs(error).mean() < 5  # the labels spread over 40 around 100


def test_a_loss_that_is_not_finite_ends_the_trial_at_once():
    source = features(None)
    with pytest.raises(DivergedError, match="not finite"):
        train_probe(source, {"seed": 0, "learning_rate": 1e38, "max_grad_norm": 0})


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_the_learning_rate_follows_transformers_schedules(schedule):
    num_steps, num_warmup = 40, 8
    name = "constant_with_warmup" if schedule == "constant" else schedule
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = get_scheduler(name, optimizer, num_warmup, num_steps)
    params = {"schedule": schedule, "warmup_ratio": num_warmup / num_steps}
    for ours in learning_rate_factors(num_steps, params):
        assert ours == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()


def test_full_learns_and_leaves_the_warm_model_as_it_was(swept):
    _, workspace = swept
    context = lone_context(workspace.store)
    tokens = artifact(workspace, "tokenize", "classes")
    model = next(n.sources["model"] for n in workspace.nodes.values() if "model" in n.sources)
    (first,) = finetune(context, [{**FULL, "seed": 0}], {"prepared": tokens}, {"model": model})
    (second,) = finetune(context, [{**FULL, "seed": 0}], {"prepared": tokens}, {"model": model})
    losses = [point["train_loss"] for point in first.value["curve"] if "train_loss" in point]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert first.tables["predictions"].equals(second.tables["predictions"])


def test_predictions_keep_the_row_of_every_example(swept):
    _, workspace = swept
    predictions = artifact(workspace, "probe", "classes", method="probe").table("predictions")
    examples = artifact(workspace, "load", "classes")
    for split in ("validation", "test"):
        part = predictions.filter(pa.compute.equal(predictions["split"], split))
        assert part["row"].to_pylist() == examples.table(split)["row"].to_pylist()
        assert part["label"].to_pylist() == examples.table(split)["label"].to_pylist()


def test_a_folder_that_is_no_model_is_told_before_anything_runs(bert, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in Path(bert).iterdir():
        if path.suffix != ".safetensors":
            (broken / path.name).write_bytes(path.read_bytes())
    sweep = {
        "name": "broken",
        "models": {"name": "broken", "source": str(broken)},
        "tasks": {"name": "classes", "source": str(save_task(tmp_path / "t.csv"))},
        "space": {"method": "probe"},
        "tracking": "off",
    }
    with pytest.raises(Exception, match="weights"):
        run(sweep, backend="inline", store=str(tmp_path / "store"))
    assert not Store(str(tmp_path / "store")).list_folders("sweeps")
