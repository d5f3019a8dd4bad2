"""The models of a sweep's chosen configs on MLflow's page of models; knows no trial.

A chosen config has one LoggedModel of MLflow 3: its params, its numbers for each data set, the run
that it comes from. Weights are there only once it is registered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, Metric
from mlflow.exceptions import MlflowException

from orchestrator.running.tracking.records import (
    CONFIG_ID_TAG,
    CONTENT_TAG,
    KIND_TAG,
    SWEEP_ID_TAG,
    TRIAL_ID_TAG,
    RunRecord,
)

PAGE_SIZE = 100
_MISSING = frozenset({"ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED"})
"""Codes of what a server older than MLflow 3 answers."""


class SweepModels:
    """The models that one sweep has given, found again by their tags."""

    def __init__(self, client: MlflowClient, experiment_id: str, sweep_id: str) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._sweep_id = sweep_id

    def write(
        self, names: Mapping[str, str], records: Mapping[str, RunRecord], runs: Mapping[str, str]
    ) -> None:
        """Show the models of the configs that are chosen now, and no other without weights.

        Args:
            names: What they are called, by config id.
            records: The runs of these configs, by config id.
            runs: The ids of these runs; a config without one is left out.

        Raises:
            MlflowException: MLflow could not be reached or refused something.
        """
        try:
            found = list(models_of(self._client, self._experiment_id, self._sweep_id))
        except MlflowException as error:
            if error.error_code in _MISSING:
                return
            raise
        known: dict[str, LoggedModel] = {}
        for model in found:
            config_id = model.tags.get(CONFIG_ID_TAG, "")
            if config_id in names and model.source_run_id == runs.get(config_id):
                known[config_id] = model
            elif TRIAL_ID_TAG not in model.tags:
                self._client.delete_logged_model(model.model_id)
        for config_id, name in names.items():
            if config_id in runs:
                self._show(known.get(config_id), name, records[config_id], runs[config_id])

    def _show(self, model: LoggedModel | None, name: str, record: RunRecord, run_id: str) -> None:
        if model is None:
            method = record.tags.get("fanflare.method") or None
            shown = {n: v for n, v in record.tags.items() if n not in (KIND_TAG, CONTENT_TAG)}
            model = self._client.create_logged_model(
                self._experiment_id,
                model_name(name),
                source_run_id=run_id,
                tags={**shown, SWEEP_ID_TAG: self._sweep_id},
                params=dict(record.params),
                model_type=method,
            )
        elif model.tags.get(CONTENT_TAG) == record.tags.get(CONTENT_TAG):
            return
        self._client.log_batch(run_id, metrics=_metrics(record, model.model_id))
        outputs = self._client.get_run(run_id).outputs
        if not any(out.model_id == model.model_id for out in outputs.model_outputs):
            last_step = max((point.step for point in record.points), default=0)
            self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, last_step)])
        self._client.finalize_logged_model(model.model_id, "READY")
        # Last, so that a model whose writing was cut short is written again.
        self._client.set_logged_model_tags(model.model_id, dict(record.tags))


def models_of(client: MlflowClient, experiment_id: str, sweep_id: str) -> Iterator[LoggedModel]:
    """Yield the models of a sweep.

    Raises:
        MlflowException: MLflow could not be reached or refused something.
    """
    token: str | None = None
    while True:
        page = client.search_logged_models(
            [experiment_id],
            f"tags.`{SWEEP_ID_TAG}` = '{sweep_id}'",
            max_results=PAGE_SIZE,
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def model_name(name: str) -> str:
    """Return the nearest name that MLflow accepts for a model."""
    return re.sub(r"[/:.%\"']", "-", name)


def _metrics(record: RunRecord, model_id: str) -> Sequence[Metric]:
    """Return a config's final numbers as those of its model on the data sets that it was given.

    They are the very points of its run, which MLflow does not keep twice.
    """
    last_step = max((point.step for point in record.points), default=0)
    datasets = {use.split: use for use in record.datasets}
    metrics = []
    for point in record.points:
        split, _, name = point.name.partition("/")
        if point.step == last_step and name and split != "system":
            use = datasets.get(split)
            where = {"dataset_name": use.name, "dataset_digest": use.digest} if use else {}
            metrics.append(Metric(*point, model_id=model_id, **where))
    return metrics
