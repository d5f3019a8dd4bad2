"""A registered model loads by MLflow's own functions and gives the trial's own predictions."""

import numpy as np
import pytest

from orchestrator import run
from orchestrator.errors import ExportError, FanflareError, UnknownNameError
from orchestrator.running.registering import RegisterOptions, register
from tests.cli import fanflare, sweep_file
from tests.mlflow_records import client_of, runs_of
from tests.pipelines.exporting import elsewhere
from tests.pipelines.stranger import registered
from tests.pipelines.test_export import kept
from tests.pipelines.tiny import save_bert, save_task

__all__ = ["fanflare"]  # the fixture


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


@pytest.fixture(scope="module")
def registrations(sweep, store):
    """The best model of each task, registered for the first time."""
    return {
        task: register(sweep, f"tiny {task}", RegisterOptions(task=task, store=store))
        for task in ("classes", "pairs")
    }


@pytest.fixture(scope="module")
def answers(registrations, store, uri):
    """What a fresh process hears from the registered models, asked for the test rows."""
    asked = {}
    for made in registrations.values():
        texts, *_ = kept(store, made.trial)
        asked[made.uri] = texts if "text_pair" in texts[0] else [row["text"] for row in texts]
    return elsewhere(registered, uri, asked)


@pytest.mark.parametrize("task", ["classes", "pairs"])
def test_the_best_model_predicts_in_a_fresh_process_as_its_trial_did(
    task, registrations, answers, store
):
    made = registrations[task]
    _, labels, scores = kept(store, made.trial)
    given, first = answers[made.uri]
    assert made.is_new
    assert made.version == "1"
    assert given["label"] == labels
    np.testing.assert_allclose(given["score"], scores, atol=1e-5)
    first = first[0] if isinstance(first, list) else first
    assert first["label"] == labels[0]


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
