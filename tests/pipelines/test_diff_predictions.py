"""How far two real trials predict the same, and what a report says of their data."""

import pyarrow as pa
import pytest
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from orchestrator import run
from orchestrator.running.diffing import diff_trials
from orchestrator.running.workspace import open_sweep
from tests.cli import fanflare
from tests.pipelines.tiny import save_bert, save_task

__all__ = ["fanflare"]  # the fixture

NUM_TEST = 32


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished sweep of probes and full fine-tuning on classes and numbers."""
    folder = tmp_path_factory.mktemp("diff")
    shared = {"epochs": 2, "max_length": 10}
    sweep = {
        "name": "apart",
        "store": str(folder / "store"),
        "tracking": "off",
        "models": {"name": "tiny-bert", "source": str(save_bert(folder / "bert"))},
        "tasks": [
            {"name": "classes", "source": str(save_task(folder / "classes.csv"))},
            {
                "name": "numbers",
                "source": str(save_task(folder / "numbers.csv", kind="number")),
                "kind": "regression",
            },
        ],
        "train_size": 64,
        "validation_size": 32,
        "test_size": NUM_TEST,
        "space": [
            {"method": "probe", "learning_rate": [0.05, 1e-6], **shared},
            {"method": "full", "tasks": "classes", **shared},
        ],
    }
    report = run(sweep, backend="inline")
    assert report.exit_code == 0
    return report, open_sweep(sweep)


def trial_of(made, task, method, lr=None):
    report, _ = made
    return next(
        r.trial
        for r in report.results
        if (r.trial.task, r.trial.method) == (task, method)
        if lr is None or r.trial.params["learning_rate"] == lr
    )


def predictions(made, trial):
    _, workspace = made
    digest = trial.stages[-2]
    table = workspace.store.open(workspace.store.find([digest])[digest]).table("predictions")
    return table.filter(pa.compute.equal(table["split"], "test"))


def test_flipped_rows_and_kappa_are_those_of_the_predictions(made):
    pair = [trial_of(made, "classes", "probe", lr) for lr in (0.05, 1e-6)]
    found = diff_trials(pair[0].id, pair[1].id, store=made[1].store.location)
    assert found.parting.stage == "transfer/probe"
    assert found.params == {"learning_rate": (0.05, 1e-6)}
    a, b = (predictions(made, trial) for trial in pair)
    labels = a["label"].to_numpy()
    ours, theirs = a["prediction"].to_numpy(), b["prediction"].to_numpy()
    assert found.agreement.num_rows == NUM_TEST
    assert found.agreement.num_flipped == (ours != theirs).sum() > 0
    assert found.agreement.kappa == pytest.approx(cohen_kappa_score(ours, theirs))
    won = int(((ours == labels) & (theirs != labels)).sum())
    lost = int(((ours != labels) & (theirs == labels)).sum())
    assert found.agreement.test == "mcnemar"
    assert found.agreement.p == pytest.approx(binomtest(won, won + lost).pvalue)


def test_methods_part_where_the_one_has_a_stage_of_its_own(made, fanflare):
    pair = [trial_of(made, "classes", method) for method in ("probe", "full")]
    ended = fanflare("diff", *(trial.id for trial in pair), "--store", made[1].store.location)
    assert "They part at transfer/encode: only the first has transfer/encode." in ended.out
    assert f"of {NUM_TEST} test rows are given another class" in ended.out


def test_numbers_lie_apart_by_their_mean_difference(made):
    pair = [trial_of(made, "numbers", "probe", lr) for lr in (0.05, 1e-6)]
    found = diff_trials(pair[0].id, pair[1].id, store=made[1].store.location).agreement
    a, b = (predictions(made, trial)["prediction"].to_numpy() for trial in pair)
    assert (found.num_flipped, found.kappa) == (None, None)
    assert found.mean_difference == pytest.approx(abs(a - b).mean())


def test_predictions_for_other_examples_are_not_compared(made):
    pair = [trial_of(made, task, "probe", 0.05) for task in ("classes", "numbers")]
    found = diff_trials(pair[0].id, pair[1].id, store=made[1].store.location)
    assert found.agreement is None
    assert found.parting.stage == "transfer/load"
    assert found.parting.own_reasons[0].values == ("classes", "numbers")


def test_models_and_tasks_are_told_with_their_rows(made):
    told = made[0].provenance
    assert [entry["name"] for entry in told["models"]] == ["tiny-bert"]
    assert len(told["models"][0]["digest"]) == 64
    rows = {entry["name"]: entry["num_rows"] for entry in told["tasks"]}
    assert rows["classes"] == {"train": 64, "validation": 32, "test": NUM_TEST}
    assert told["tasks"][0]["source"].endswith("classes.csv")
