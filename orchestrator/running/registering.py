"""Puts the model of a sweep's best config into MLflow's registry; ranks and trains nothing."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.comparing.configs import ConfigRow
from orchestrator.comparing.report import Report
from orchestrator.comparing.wording import config_label, format_score
from orchestrator.errors import ExportError, FanflareError, UnknownNameError, nearest_name
from orchestrator.planning.trial import Trial, TrialResult
from orchestrator.running.export import ExportOptions, export_trial
from orchestrator.running.past import report as make_report
from orchestrator.running.progress import Observer, SilentObserver
from orchestrator.running.session import tracking_uri as uri_of
from orchestrator.running.tracking import check_tracking_uri
from orchestrator.running.tracking.exhibit import Exhibit
from orchestrator.running.tracking.mlflow_tracker import MLFLOW_SETTINGS
from orchestrator.running.tracking.uris import with_driver
from orchestrator.running.workspace import SweepLike, Workspace, open_sweep
from pipelines.contract import load_object
from pipelines.exports import Servable
from pipelines.registry import load_pipeline

if TYPE_CHECKING:
    from orchestrator.running.tracking.mlflow_registry import Registry


@dataclass(frozen=True, kw_only=True)
class RegisterOptions:
    """How to register a model."""

    task: str | None = None
    """The task whose best config is meant; may be left out where the sweep has one task."""
    store: str | None = None
    """Where results are."""
    tracking_uri: str | None = None
    """MLflow's tracking URI, in place of what the sweep says."""
    observer: Observer = field(default_factory=SilentObserver)
    """Who is told that training begins."""


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A version of a model in MLflow's registry."""

    name: str
    version: str
    trial: str
    """The id of the trial that trained it."""
    config_id: str
    task: str
    is_new: bool
    """False where the registry had this very trial's model already."""

    @property
    def uri(self) -> str:
        """Return what `mlflow.pyfunc.load_model` and `mlflow.transformers.load_model` take."""
        return f"models:/{self.name}/{self.version}"


def register(given: SweepLike, name: str, options: RegisterOptions | None = None) -> Registered:
    """Register the model of the config with the best validation mean, as one more version.

    Of the config's seeds it is the one with the best validation score. The same trial is never
    registered twice under one name.

    Args:
        given: A sweep, a dict with the keys of a sweep file, or the path of one.
        name: The registered model's name; made if it is not there.
        options: How.

    Raises:
        FanflareError: The sweep is not tracked, MLflow cannot be reached or does not have it.
        UnknownNameError: The sweep has no such task, or several and none was named.
        ExportError: No trial has finished, or such a trial cannot be exported.
    """
    options = options or RegisterOptions()
    check_name(name)
    workspace = open_sweep(given, options.store)
    pipeline = load_pipeline(workspace.sweep.pipeline)
    if not isinstance(pipeline, Servable):
        raise ExportError(f"pipeline {workspace.sweep.pipeline!r} has no model to register")
    registry = _registry(workspace, options)
    best = make_report(given, store=options.store)
    row = best_config(best, options.task)
    trial = best_seed(best.results, row).trial
    exhibit = _exhibit(workspace, row, trial)
    run = registry.config_run(workspace.sweep.name, exhibit)
    if run is None:
        raise FanflareError(
            f"MLflow does not have the best config of sweep {workspace.sweep.name!r}; "
            "bring it up to date first: fanflare sync"
        )
    if version := registry.version_of(name, exhibit):
        return _registered(name, version, exhibit, row, is_new=False)
    if not registry.has_weights(exhibit, run):
        with tempfile.TemporaryDirectory(prefix="fanflare-") as temporary:
            how = ExportOptions(
                sweep=_as_text(given), store=options.store, observer=options.observer
            )
            exported = export_trial(trial.id, Path(temporary) / "export", how)
            registry.upload(exhibit, run, exported.folder, load_object(pipeline.load_function))
    version = registry.publish(name, exhibit, run)
    return _registered(name, version, exhibit, row, is_new=True)


def check_name(name: str) -> None:
    """Make sure that a name can be that of a registered model.

    Raises:
        FanflareError: It cannot.
    """
    if not name.strip() or set(name) & set("/:'"):
        raise FanflareError(
            f"{name!r} cannot be the name of a registered model: it must not be empty, "
            "and must hold no slash, colon or apostrophe"
        )


def best_config(report: Report, task: str | None) -> ConfigRow:
    """Return the config with the best validation mean on a task.

    Args:
        report: Of the sweep.
        task: Which; may be None where the sweep has one.

    Raises:
        UnknownNameError: There is no such task, or several and none was named.
        ExportError: No config has a score.
    """
    tasks = report.leaderboard.tasks
    named = ", ".join(tasks)
    if task is None and len(tasks) > 1:
        raise UnknownNameError(
            f"the sweep has {len(tasks)} tasks, and a model is of one; name it with --task, "
            f"one of: {named}"
        )
    if task is not None and task not in tasks:
        nearest = nearest_name(task, tasks)
        hint = f", did you mean {nearest!r}?" if nearest else ""
        raise UnknownNameError(f"the sweep has no task {task!r}{hint}; there are: {named}")
    rows = tasks[task] if task is not None else next(iter(tasks.values()), ())
    best = next((row for row in rows if row.scores["validation"].mean is not None), None)
    if best is None:
        raise ExportError(f"no trial of sweep {report.sweep!r} has finished; run it first")
    return best


def best_seed(results: Iterable[TrialResult], row: ConfigRow) -> TrialResult:
    """Return the trial of a config with the best validation score; of equal ones the first."""
    scored = [
        (score, result)
        for result in results
        if result.trial.config_id == row.config_id
        and (score := result.score("validation")) is not None
    ]
    choose = max if row.mode == "max" else min
    return choose(scored, key=lambda pair: pair[0])[1]


def _registry(workspace: Workspace, options: RegisterOptions) -> Registry:
    """Return the registry.

    Raises:
        FanflareError: The sweep is not tracked, or MLflow cannot be reached.
    """
    uri = uri_of(workspace, options.tracking_uri)
    if uri is None:
        raise FanflareError(
            f"sweep {workspace.sweep.name!r} has `tracking: off`: it has no MLflow to register "
            "models in; name one with --tracking-uri"
        )
    if fault := check_tracking_uri(uri):
        raise FanflareError(fault)
    for name, value in MLFLOW_SETTINGS.items():
        os.environ.setdefault(name, value)
    # MLflow and transformers take seconds to import.
    module = importlib.import_module("orchestrator.running.tracking.mlflow_registry")
    registry: Registry = module.Registry(with_driver(uri))
    return registry


def _exhibit(workspace: Workspace, row: ConfigRow, trial: Trial) -> Exhibit:
    score = row.scores["validation"]
    return Exhibit(
        sweep_id=workspace.saved_id(),
        config_id=row.config_id,
        trial_id=trial.id,
        seed=trial.seed,
        name=" ".join(filter(None, (row.model, row.method, "on", row.task))),
        description=(
            f"{config_label(row)} on {row.task}, seed {trial.seed}: the best seed of the config "
            f"with the best validation {row.metric} of sweep `{workspace.sweep.name}`, "
            f"{format_score(row, 'validation')} over {score.n} seeds "
            f"(test {format_score(row, 'test')}). Trial `{trial.id}`."
        ),
    )


def _as_text(given: SweepLike) -> str | None:
    """Return how `find_trial` is told the sweep; one that is no file or name is in the store."""
    return str(given) if isinstance(given, str | Path) else None


def _registered(
    name: str, version: str, exhibit: Exhibit, row: ConfigRow, *, is_new: bool
) -> Registered:
    return Registered(
        name=name,
        version=version,
        trial=exhibit.trial_id,
        config_id=exhibit.config_id,
        task=row.task,
        is_new=is_new,
    )
