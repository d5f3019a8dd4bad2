"""Reads all that a tracking store has of one sweep, without the ids that MLflow draws by chance."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

OWN_IDS = {"trial": "fanflare.trial_id", "config": "fanflare.config_id"}


def client_of(uri: str) -> Any:
    """Return an MlflowClient; MLflow is imported when a test runs, and sends nothing from there."""
    return importlib.import_module("mlflow").MlflowClient(uri)


def runs_of(uri: str, sweep: str, kind: str | None = None) -> list[Any]:
    """Return the runs of an experiment that are not deleted, all or those of one kind."""
    client = client_of(uri)
    experiment = client.get_experiment_by_name(sweep)
    if experiment is None:
        return []
    condition = f"tags.`fanflare.kind` = '{kind}'" if kind else ""
    return list(client.search_runs([experiment.experiment_id], condition, max_results=50_000))


def records_of(uri: str, sweep: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Return every run of a sweep by kind and own id: what a rebuilt store must have as well."""
    client = client_of(uri)
    runs = runs_of(uri, sweep)
    keys = {run.info.run_id: _key(run) for run in runs}
    assert len(set(keys.values())) == len(runs), "two runs for one thing"
    return {keys[run.info.run_id]: _record(client, run, keys) for run in runs}


def models_of(uri: str, sweep: str) -> dict[str, dict[str, Any]]:
    """Return the logged models of a sweep by name."""
    client = client_of(uri)
    keys = {run.info.run_id: _key(run) for run in runs_of(uri, sweep)}
    experiment = client.get_experiment_by_name(sweep)
    models = client.search_logged_models([experiment.experiment_id])
    assert len({model.name for model in models}) == len(models)
    return {
        model.name: {
            "source": keys.get(model.source_run_id),
            "status": str(model.status),
            "type": model.model_type,
            "params": model.params,
            "tags": model.tags,
            "metrics": sorted(
                (m.key, m.step, m.timestamp, m.value, m.dataset_name) for m in model.metrics or ()
            ),
        }
        for model in models
    }


def _key(run: Any) -> tuple[str, str]:
    kind = run.data.tags["fanflare.kind"]
    return kind, run.data.tags.get(OWN_IDS.get(kind, ""), "")


def _record(client: Any, run: Any, keys: dict[str, tuple[str, str]]) -> dict[str, Any]:
    run_id = run.info.run_id
    tags = dict(run.data.tags)
    if parent := tags.get("mlflow.parentRunId"):
        tags["mlflow.parentRunId"] = str(keys[parent])
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "times": (run.info.start_time, run.info.end_time),
        "tags": tags,
        "params": dict(run.data.params),
        "latest": dict(run.data.metrics),
        "history": {
            name: sorted(
                (point.step, point.timestamp, point.value)
                for point in client.get_metric_history(run_id, name)
            )
            for name in run.data.metrics
        },
        "datasets": sorted(
            (i.dataset.name, i.dataset.digest, i.dataset.source, i.dataset.profile, i.tags[0].value)
            for i in run.inputs.dataset_inputs
        ),
        "files": _files(client, run_id) if keys[run_id][0] == "sweep" else {},
    }


def _files(client: Any, run_id: str) -> dict[str, bytes]:
    folder = Path(client.download_artifacts(run_id, ""))
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
