"""What MLflow holds of one sweep, by explicit run ids.

It knows no threads and no patience. Every method may be repeated after an error: runs are found
again by their tags, and what was written already is recognised.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import (
    MLFLOW_LOGGED_ARTIFACTS,
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_RUN_NOTE,
    MLFLOW_SOURCE_NAME,
    MLFLOW_USER,
)

from cluster.job import State
from orchestrator.running.tracking.known import KnownRun
from orchestrator.running.tracking.mlflow_client import engine_of, open_client, translated
from orchestrator.running.tracking.mlflow_models import SweepModels
from orchestrator.running.tracking.mlflow_rows import RunRows
from orchestrator.running.tracking.mlflow_values import dataset_input, table
from orchestrator.running.tracking.records import (
    CONFIG_ID_TAG,
    FORMER,
    KIND_TAG,
    PASSING_TAGS,
    SWEEP_ID_TAG,
    TRIAL_ID_TAG,
    RunRecord,
    as_texts,
    config_record,
    finite,
)
from orchestrator.running.tracking.sqlite import free_engine
from orchestrator.running.tracking.tracker import SweepInfo, SweepSummary
from orchestrator.running.tracking.uris import mask_credentials
from orchestrator.running.tracking.view import VIEW_TAG, configs_view

PAGE_SIZE = 1000
"""Runs a search page."""
EXPERIMENT_KIND_TAG = "mlflow.experimentKind"
"""Tells MLflow's pages that this is training, and nothing with prompts and traces."""
LEADERBOARD = "leaderboard.json"
"""The artifact that MLflow shows as a table."""


class MlflowStore:
    """The runs of one sweep in a tracking store."""

    def __init__(self, client: MlflowClient, sweep: SweepInfo, experiment_id: str) -> None:
        self._client = client
        self._sweep = sweep
        self.experiment_id = experiment_id
        self._parent = self._find_or_create_parent()
        self._rows = RunRows.open(engine_of(client), client.get_run(self._parent.id).info)
        self._runs: dict[tuple[str, str], KnownRun] = {}
        self._unsure: set[tuple[str, str]] = set()
        for run in self._children():
            self._runs.setdefault(run.key, run)

    @classmethod
    def open(cls, uri: str, sweep: SweepInfo, artifact_location: str | None) -> MlflowStore:
        """Find or make the sweep's experiment and parent run, and read which runs there are.

        Raises:
            StoreError: MLflow could not be reached or refused something.
        """
        # MLflow logs database errors with tracebacks before raising them; the tracker reports.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        with translated():
            client = open_client(uri)
            experiment = client.get_experiment_by_name(sweep.name)
            if experiment is None:
                experiment_id = client.create_experiment(
                    sweep.name, artifact_location, {EXPERIMENT_KIND_TAG: "custom_model_development"}
                )
            else:
                experiment_id = experiment.experiment_id
                if experiment.lifecycle_stage == "deleted":
                    client.restore_experiment(experiment_id)
            return cls(client, sweep, experiment_id)

    def begin(self) -> None:
        """Show the sweep as running, with its files.

        Raises:
            StoreError: MLflow could not be reached or refused something.
        """
        with translated():
            self._client.update_run(self._parent.id, status=str(State.RUNNING))
            params = as_texts(self._sweep.params)
            self._client.log_batch(
                self._parent.id,
                tags=[RunTag(*pair) for pair in as_texts(self._sweep.tags).items()],
                params=[Param(*p) for p in params.items() if p[0] not in self._parent.params],
            )
            self._log_files(self._sweep.files)

    def has_run(self, key: tuple[str, str]) -> bool:
        """Return whether there may be a run of this kind and id, complete or not."""
        return key in self._runs or key in self._unsure

    def close(self) -> None:
        """Give back connections and memory; the store can still be used."""
        if engine := engine_of(self._client):
            free_engine(engine)

    def write(self, record: RunRecord) -> None:
        """Write a run unless MLflow holds it: complete what is there, or make a new one.

        Raises:
            StoreError: MLflow could not be reached or refused something.
        """
        with translated():
            known = self._runs.get(record.key) or self._found(record.key)
            if known is None:
                self._make(record)
            elif known.holds(record):
                return
            elif known.is_outdated(record):
                self._make(record, known.foreign_tags)
                self._client.delete_run(known.id)
            else:
                self._renew_tags(known, record)
                self._complete(known, record)

    def finish(self, state: State, summary: SweepSummary) -> None:
        """Put the summary on the parent run, and leave no run behind that nobody will end.

        Raises:
            StoreError: MLflow could not be reached or refused something.
        """
        with translated():
            runs = self._settle()
            files = dict(summary.files)
            tags = {MLFLOW_RUN_NOTE: mask_credentials(summary.note)}
            if summary.leaderboard:
                files[LEADERBOARD] = table(summary.leaderboard)
                tags[MLFLOW_LOGGED_ARTIFACTS] = json.dumps([{"path": LEADERBOARD, "type": "table"}])
            self._log_files(files)
            self._write_models(summary)
            if summary.configs:
                view = configs_view(summary.configs)
                self._client.set_experiment_tag(self.experiment_id, VIEW_TAG, view)
            ended_ms = round((summary.ended_at or time.time()) * 1000)
            metrics = [Metric(name, value, ended_ms, 0) for name, value in finite(summary.metrics)]
            self._client.log_batch(
                self._parent.id, metrics=metrics, tags=[RunTag(*pair) for pair in tags.items()]
            )
            self._client.set_terminated(self._parent.id, str(state), ended_ms)
            if summary.ids is not None:
                self._mark_former(runs, summary.ids)

    def _write_models(self, summary: SweepSummary) -> None:
        chosen = [config for config in summary.configs if config.config_id in summary.models]
        records = {config.config_id: config_record(config) for config in chosen}
        runs = {i: self._runs[r.key].id for i, r in records.items() if r.key in self._runs}
        models = SweepModels(self._client, self.experiment_id, self._sweep.id)
        models.write(summary.models, records, runs)

    def _find_or_create_parent(self) -> KnownRun:
        # The oldest: if a lost answer ever led to a second one, that one has no children.
        for run in self._search(f"tags.`{KIND_TAG}` = 'sweep'"):
            if run.tags.get(SWEEP_ID_TAG) == self._sweep.id:
                return run
        tags = {
            KIND_TAG: "sweep",
            SWEEP_ID_TAG: self._sweep.id,
            MLFLOW_USER: os.environ.get("USER", "unknown"),
            MLFLOW_SOURCE_NAME: "fanflare",
        }
        run = self._client.create_run(
            self.experiment_id,
            start_time=round(self._sweep.started_at * 1000) or None,
            tags=tags,
            run_name=self._sweep.name,
        )
        return KnownRun.of(run)

    def _make(self, record: RunRecord, tags: Mapping[str, str] | None = None) -> None:
        """Write a new run, with tags of people's own."""
        # Until the answer is here, nobody knows whether there is a run.
        self._unsure.add(record.key)
        tags = {**(tags or {}), **record.tags, MLFLOW_PARENT_RUN_ID: self._parent.id}
        if self._rows:
            self._runs[record.key] = self._rows.insert(record, tags)
            self._unsure.discard(record.key)
            return
        run = self._client.create_run(
            self.experiment_id, record.started_ms or None, tags, run_name=record.name
        )
        self._unsure.discard(record.key)
        self._runs[record.key] = KnownRun.of(run)
        self._complete(self._runs[record.key], record)

    def _complete(self, known: KnownRun, record: RunRecord) -> None:
        """Write all of a run but its tags."""
        self._client.log_batch(
            known.id,
            metrics=[Metric(*point) for point in record.points],
            params=[Param(*p) for p in record.params.items() if p[0] not in known.params],
        )
        if record.datasets:
            self._client.log_inputs(known.id, [dataset_input(use) for use in record.datasets])
        # The state comes last: a run in a final state is a complete one.
        self._client.set_terminated(known.id, str(record.state), record.ended_ms or None)
        self._runs[record.key] = known.completed(record)

    def _found(self, key: tuple[str, str]) -> KnownRun | None:
        """Return the run of an earlier try whose answer was lost."""
        if key in self._unsure:
            tag = TRIAL_ID_TAG if key[0] == "trial" else CONFIG_ID_TAG
            for run in self._children(f" AND tags.`{tag}` = '{key[1]}'"):
                if run.key == key:
                    return self._runs.setdefault(key, run)
        return None

    def _renew_tags(self, known: KnownRun, record: RunRecord) -> None:
        changed = [RunTag(*tag) for tag in record.tags.items() if tag not in known.tags.items()]
        if known.state == str(record.state):
            # Until all is written it is not a complete one.
            self._client.update_run(known.id, status=str(State.RUNNING))
        if changed:
            self._client.log_batch(known.id, tags=changed)
        for name in PASSING_TAGS & known.tags.keys() - record.tags.keys():
            try:
                self._client.delete_tag(known.id, name)
            except MlflowException as error:
                # An earlier try has removed it.
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise

    def _settle(self) -> list[KnownRun]:
        """End the runs of writers that were killed, drop second runs, and return all others."""
        # The pages of a search would shift under the deletions.
        ours = [run for run in self._children() if run.key[1]]
        for run in ours:
            if self._runs.setdefault(run.key, run).id != run.id:
                self._client.delete_run(run.id)
            elif run.state == State.RUNNING:
                self._client.set_terminated(run.id, str(State.KILLED))
        return [run for run in ours if self._runs[run.key].id == run.id]

    def _mark_former(self, runs: Iterable[KnownRun], ids: Collection[str]) -> None:
        """Tell the runs of what is part of the sweep from those of what no longer is."""
        for run in runs:
            kind, owner = run.key
            wanted = kind if owner in ids else FORMER + kind
            if run.tags[KIND_TAG] != wanted:
                self._client.set_tag(run.id, KIND_TAG, wanted)

    def _children(self, condition: str = "") -> Iterator[KnownRun]:
        return self._search(f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{self._parent.id}'{condition}")

    def _search(self, condition: str) -> Iterator[KnownRun]:
        """Yield the runs that meet a condition, oldest first."""
        token: str | None = ""
        while token is not None:
            page = self._client.search_runs(
                [self.experiment_id],
                condition,
                ViewType.ACTIVE_ONLY,
                PAGE_SIZE,
                ["attributes.start_time ASC"],
                token or None,
            )
            yield from map(KnownRun.of, page)
            token = page.token or None

    def _log_files(self, files: Mapping[str, str | bytes]) -> None:
        with TemporaryDirectory(prefix="fanflare-") as folder:
            for name, content in files.items():
                data = content.encode() if isinstance(content, str) else content
                Path(folder, name).write_bytes(data)
            self._client.log_artifacts(self._parent.id, folder)
