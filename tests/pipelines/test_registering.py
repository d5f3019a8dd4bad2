"""A registered model loads by MLflow's own functions and gives the trial's own predictions."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from orchestrator import run
from orchestrator.errors import ExportError, FanflareError, UnknownNameError
from orchestrator.running.registering import RegisterOptions, register
from tests.cli import fanflare, sweep_file
from tests.mlflow_records import client_of, runs_of
from tests.pipelines.test_export import kept
from tests.pipelines.tiny import save_bert, save_task

__all__ = ["fanflare"]  # the fixture

LOAD = """
import json, sys, mlflow, pandas
given = json.load(sys.stdin)
mlflow.set_tracking_uri(given["uri"])
model = mlflow.pyfunc.load_model(given["model"])
answers = model.predict(pandas.DataFrame(given["rows"]) if given["pair"] else given["rows"])
classify = mlflow.transformers.load_model(given["model"])
first = classify(given["rows"][0], truncation=True)
print(json.dumps([answers.to_dict("list"), first]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("register")


@pytest.fixture(scope="module")
def store(folder):
    return str(folder / "store")


@pytest.fixture(scope="module")
def sweep(folder, store):
    """The file of a finished sweep."""
    tasks = [
        {"name": "classes", "source": str(save_task(folder / "classes.csv"))},
        {
            "name": "pairs",
            "source": str(save_task(folder / "pairs.csv", pair=True)),
            "text_pair": "second",
        },
    ]
    content = {
        "name": "registered",
        "models": {"name": "tiny-bert", "source": str(save_bert(folder / "bert"))},
        "tasks": tasks,
        "train_size": 64,
        "validation_size": 32,
        "test_size": 32,
        "seeds": 2,
        "space": {"method": "probe", "learning_rate": [0.05, 1e-6], "epochs": 3, "max_length": 10},
    }
    path = sweep_file(folder, content)
    report = run(path, backend="inline", store=store)
    assert report.exit_code == 0
    return path


@pytest.fixture(scope="module")
def uri(sweep, folder):
    return f"sqlite:///{folder}/store/sweeps/registered/mlflow.db"


def elsewhere(uri, made, rows, folder):
    """Load a registered model in a process of its own, and return what it answers."""
    given = {"uri": uri, "model": made.uri, "rows": rows, "pair": isinstance(rows[0], dict)}
    ended = subprocess.run(
        [sys.executable, "-c", LOAD],
        input=json.dumps(given),
        env={**os.environ, "HF_MODULES_CACHE": str(folder / "modules"), "HF_HUB_OFFLINE": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.parametrize("task", ["classes", "pairs"])
def test_the_best_model_predicts_in_a_fresh_process_as_its_trial_did(
    task, sweep, store, uri, folder
):
    made = register(sweep, f"tiny {task}", RegisterOptions(task=task, store=store))

    texts, answers, scores = kept(store, made.trial)
    rows = texts if "text_pair" in texts[0] else [row["text"] for row in texts]
    given, first = elsewhere(uri, made, rows, folder)
    assert made.is_new
    assert made.version == "1"
    assert given["label"] == answers
    np.testing.assert_allclose(given["score"], scores, atol=1e-5)
    first = first[0] if isinstance(first, list) else first
    assert first["label"] == answers[0]


def test_a_model_is_registered_once_and_knows_where_it_comes_from(sweep, store, uri):
    options = RegisterOptions(task="classes", store=store)
    first = register(sweep, "once", options)
    again = register(sweep, "once", options)

    client = client_of(uri)
    (version,) = client.search_model_versions("name = 'once'")
    assert (again.version, again.is_new) == (first.version, False)
    assert version.tags["fanflare.trial_id"] == first.trial
    assert "best validation" in version.description
    (config,) = (
        found
        for found in runs_of(uri, "registered", "config")
        if found.data.tags["fanflare.config_id"] == first.config_id
    )
    assert version.run_id == config.info.run_id
    assert config.data.metrics["rank"] == 1
    assert config.data.params["learning_rate"] == "0.05"
    assert version.source in {f"models:/{out.model_id}" for out in config.outputs.model_outputs}


def test_what_cannot_be_registered_is_refused_before_any_work(sweep, store, toy_store):
    with pytest.raises(UnknownNameError, match=r"2 tasks.*--task.*classes, pairs"):
        register(sweep, "x", RegisterOptions(store=store))
    with pytest.raises(UnknownNameError, match="did you mean 'classes'"):
        register(sweep, "x", RegisterOptions(store=store, task="clases"))
    with pytest.raises(FanflareError, match="cannot be the name"):
        register(sweep, "a/b", RegisterOptions(store=store, task="classes"))
    with pytest.raises(FanflareError, match="no scheme"):
        register(sweep, "x", RegisterOptions(store=store, task="classes", tracking_uri="elsewhere"))
    with pytest.raises(FanflareError, match="fanflare sync"):
        empty = f"sqlite:///{toy_store}/empty.db"
        register(sweep, "x", RegisterOptions(store=store, task="classes", tracking_uri=empty))


@pytest.fixture
def toy_store(tmp_path):
    return tmp_path


def test_a_pipeline_without_models_has_none_to_register(toy):
    with pytest.raises(ExportError, match="no model to register"):
        register(toy.sweep({"value": 1}), "x", RegisterOptions(store=str(toy.store)))


def test_the_command_says_how_to_load_what_it_registered(fanflare, sweep, store):
    ended = fanflare("report", sweep, "--store", store, "--register", "told", "--task", "pairs")
    assert ended.code == 0, ended.err
    assert "models:/told/1" in ended.out + ended.err
