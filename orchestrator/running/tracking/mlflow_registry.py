"""MLflow's registry of models: an exported folder as a model that MLflow loads, under a name.

It knows no trials beyond their tags, and trains nothing.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
import mlflow.transformers
from huggingface_hub import ModelCard
from mlflow.entities import LoggedModel, LoggedModelOutput, Run
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import ColSpec, Schema
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from orchestrator.running.tracking.exhibit import Exhibit
from orchestrator.running.tracking.mlflow_client import open_client, translated
from orchestrator.running.tracking.mlflow_models import model_name, models_of
from orchestrator.running.tracking.records import (
    CONFIG_ID_TAG,
    KIND_TAG,
    SWEEP_ID_TAG,
    TRIAL_ID_TAG,
)
from pipelines.exports import MARKER

REQUIREMENTS = ("mlflow", "torch", "transformers")
"""What loading such a model takes, at the versions that are installed here."""


class Registry:
    """The registry beside a tracking store.

    Args:
        uri: The tracking URI, with a driver that is installed.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._client = open_client(uri)

    def config_run(self, sweep: str, exhibit: Exhibit) -> Run | None:
        """Return the run of the config in its sweep, or None if MLflow does not have it.

        Raises:
            StoreError: MLflow could not be reached or refused something.
        """
        with translated():
            experiment = self._client.get_experiment_by_name(sweep)
            if experiment is None:
                return None
            condition = (
                f"tags.`{KIND_TAG}` = 'config' AND tags.`{CONFIG_ID_TAG}` = '{exhibit.config_id}'"
            )
            for run in self._client.search_runs([experiment.experiment_id], condition):
                parent = self._client.get_run(run.data.tags[MLFLOW_PARENT_RUN_ID])
                if parent.data.tags.get(SWEEP_ID_TAG) == exhibit.sweep_id:
                    return run
        return None

    def version_of(self, name: str, exhibit: Exhibit) -> str | None:
        """Return the version under which this very trial is registered already, or None.

        Raises:
            StoreError: MLflow could not be reached or refused something.
        """
        wanted = exhibit.tags.items()
        with translated():
            for found in self._client.search_model_versions(f"name = '{name}'"):
                if wanted <= found.tags.items() and found.status == "READY":
                    return str(found.version)
        return None

    def has_weights(self, exhibit: Exhibit, run: Run) -> bool:
        """Return whether this very trial's model was uploaded before.

        Raises:
            StoreError: MLflow could not be reached or refused something.
        """
        with translated():
            return self._model(exhibit, run) is not None

    def upload(self, exhibit: Exhibit, run: Run, folder: Path, load: Callable[[Path], Any]) -> None:
        """Give a config's model the weights of one of its trials.

        Args:
            exhibit: What the model is.
            run: The run of its config.
            folder: The trial's export.
            load: Returns the `transformers.Pipeline` of an export.

        Raises:
            StoreError: MLflow could not be reached or refused something.
        """
        # MLflow talks to people on standard error.
        with translated(), self._as_default(), redirect_stderr(StringIO()):
            model = self._model(exhibit, run, with_weights=False) or self._create(exhibit, run)
            with TemporaryDirectory(prefix="fanflare-") as temporary:
                saved = Path(temporary) / "model"
                _save(load(folder), folder, saved, _described(model))
                self._client.log_model_artifacts(model.model_id, str(saved))
            self._client.finalize_logged_model(model.model_id, "READY")
            # Last, so that one whose upload was cut short has no weights yet.
            self._client.set_logged_model_tags(model.model_id, exhibit.tags)

    def publish(self, name: str, exhibit: Exhibit, run: Run) -> str:
        """Register a model that has its weights, and return the new version.

        Raises:
            StoreError: MLflow could not be reached or refused something.
        """
        with translated(), self._as_default(), redirect_stderr(StringIO()):
            model = self._model(exhibit, run)
            assert model is not None, "upload comes first"
            tags = {**exhibit.tags, "fanflare.seed": str(exhibit.seed)}
            made = mlflow.register_model(f"models:/{model.model_id}", name, tags=tags)
            self._client.update_model_version(name, made.version, exhibit.description)
            return str(made.version)

    def _model(
        self, exhibit: Exhibit, run: Run, *, with_weights: bool = True
    ) -> LoggedModel | None:
        """Return the config's model with the trial's weights, or the one without any."""
        wanted = exhibit.trial_id if with_weights else None
        for model in models_of(self._client, run.info.experiment_id, exhibit.sweep_id):
            is_own = model.source_run_id == run.info.run_id
            if is_own and model.tags.get(TRIAL_ID_TAG) == wanted:
                return model
        return None

    def _create(self, exhibit: Exhibit, run: Run) -> LoggedModel:
        tags = {n: v for n, v in run.data.tags.items() if n.startswith("fanflare.")}
        model = self._client.create_logged_model(
            run.info.experiment_id,
            model_name(exhibit.name),
            source_run_id=run.info.run_id,
            tags={**tags, SWEEP_ID_TAG: exhibit.sweep_id},
            params=run.data.params,
        )
        self._client.log_outputs(run.info.run_id, [LoggedModelOutput(model.model_id, 0)])
        return model

    @contextmanager
    def _as_default(self) -> Iterator[None]:
        """Make this store MLflow's own default, as some of its functions know no other."""
        before = os.environ.get("MLFLOW_TRACKING_URI")
        mlflow.set_tracking_uri(self._uri)
        try:
            yield
        finally:
            # It sets the variable too, for child processes; None takes it away.
            mlflow.set_tracking_uri(before)


def _described(model: LoggedModel) -> Model:
    return Model(
        artifact_path=model.artifact_location,
        model_uuid=model.model_id,
        run_id=model.source_run_id,
        model_id=model.model_id,
    )


def _save(pipeline: Any, folder: Path, saved: Path, described: Model) -> None:
    """Write an export as MLflow's flavors `transformers` and `python_function`."""
    loading = json.loads((folder / MARKER).read_text(encoding="utf-8"))["loading"]
    mlflow.transformers.save_model(
        pipeline,
        str(saved),
        mlflow_model=described,
        model_card=ModelCard.load(folder / "README.md"),
        model_config=loading["options"],
        signature=_signature(loading),
        pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS],
    )
    # The very files of the export, code among them that loading takes.
    shutil.copytree(folder, saved / "model", dirs_exist_ok=True)


def _signature(loading: Mapping[str, Any]) -> ModelSignature | None:
    """Return what goes in and comes out, or None where MLflow knows it by the task."""
    if len(loading["inputs"]) < 2:
        return None
    return ModelSignature(
        inputs=Schema([ColSpec("string", name) for name in loading["inputs"]]),
        outputs=Schema([ColSpec("string", "label"), ColSpec("double", "score")]),
    )
