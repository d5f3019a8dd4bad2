"""Turns a finished trial into a folder: finds it, has its weights made, puts the folder in place.

What is written into the folder is the pipeline's business.
"""

from __future__ import annotations

import io
import json
import math
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from cluster.artifact import StoredArtifact
from cluster.job import Resources, State
from cluster.machine import local_resources
from orchestrator.comparing.configs import SPLITS, Summary
from orchestrator.errors import ExportError
from orchestrator.planning.plan import planned_stage
from orchestrator.planning.trial import Trial, TrialResult
from orchestrator.running.journal import read_journal
from orchestrator.running.pins import past_sources
from orchestrator.running.progress import Observer, SilentObserver
from orchestrator.running.redaction import redact
from orchestrator.running.results import stored_results
from orchestrator.running.trial_logs import find_trial
from orchestrator.running.work import Worker
from orchestrator.running.worker_context import WorkerContext
from orchestrator.running.workspace import Workspace, check_capacity
from pipelines.contract import InputError, Node, load_object
from pipelines.exports import (
    MARKER,
    Export,
    Exportable,
    ExportFunction,
    SeedScores,
    TrialFacts,
    Verification,
    closure,
)
from pipelines.registry import load_pipeline


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How to export a trial."""

    sweep: str | None = None
    """The trial's sweep, a file or name; by default every sweep in the store is searched."""
    store: str | None = None
    """Where results are."""
    merge: bool = True
    """Whether adapters are folded into the weights."""
    force: bool = False
    """Whether an earlier export in the folder is replaced."""
    observer: Observer = field(default_factory=SilentObserver)
    """Who is told that training begins."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written."""

    trial: str
    folder: Path
    num_bytes: int
    trained_s: float
    """Seconds of training it took to have the weights; 0 where the store had them."""
    verification: Verification


def export_trial(prefix: str, folder: Path, options: ExportOptions | None = None) -> Exported:
    """Write a finished trial as a folder that other libraries load.

    Args:
        prefix: The trial's id, or its beginning.
        folder: What to write; nothing is there, or it is empty.
        options: How.

    Raises:
        ExportError: The trial has no result, is of a kind that is not exported, or cannot be
            trained again here, as where its data has changed; or the folder is taken.
        UnknownNameError: No trial, or more than one, has such an id.
    """
    options = options or ExportOptions()
    check_folder(folder, force=options.force)
    trial, workspace = find_trial(prefix, options.sweep, options.store)
    if changed := past_sources([workspace.nodes[digest] for digest in trial.stages]):
        raise ExportError(
            f"trial {trial.id} rests on {', '.join(changed)} as it was when it ran, which has "
            "changed since; put it back, or run the sweep and export a trial of now"
        )
    facts = _facts(trial, workspace)
    pipeline = load_pipeline(workspace.sweep.pipeline)
    if not isinstance(pipeline, Exportable):
        raise ExportError(f"pipeline {workspace.sweep.pipeline!r} has nothing to export")
    try:
        node = pipeline.export_node(workspace.nodes[trial.result_digest], merge=options.merge)
        trained_s = _compute(node, workspace, options.observer)
        artifacts = _artifacts(node, workspace)
        with _aside(folder, force=options.force) as aside:
            content = Export(
                node=node, artifacts=artifacts, facts=facts, folder=aside, merge=options.merge
            )
            verification = _write(load_object(pipeline.export_function), content)
    except InputError as error:
        raise ExportError(f"trial {trial.id} cannot be exported: {error}") from error
    return Exported(
        trial=trial.id,
        folder=folder,
        num_bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        trained_s=trained_s,
        verification=verification,
    )


def _write(function: ExportFunction, content: Export) -> Verification:
    with redirect_stderr(io.StringIO()):  # the bars that transformers draws
        return function(WorkerContext(Resources()), content)


def check_folder(folder: Path, *, force: bool) -> None:
    """Make sure that a folder may be written.

    Raises:
        ExportError: Something is there that is not to be lost.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ExportError(f"{folder} is a file; name a folder that is not there yet")
    if not any(folder.iterdir()):
        return
    if not force:
        raise ExportError(f"{folder} is not empty; name another folder, or replace it by --force")
    if not (folder / MARKER).is_file():
        raise ExportError(
            f"{folder} was not written by an export (it holds no {MARKER}), so that --force does "
            "not replace it; remove it yourself, or name another folder"
        )


def _facts(trial: Trial, workspace: Workspace) -> TrialFacts:
    """Return what the sweep knows of a trial.

    Raises:
        ExportError: The trial has not finished.
    """
    events = read_journal(workspace.store, workspace.sweep.name)
    results = {r.trial.id: r for r in stored_results(workspace.plan(), workspace.store, events)}
    own = results[trial.id]
    if own.state is not State.FINISHED:
        why = f": {own.failure.message}" if own.failure else ""
        raise ExportError(
            f"trial {trial.id} is {own.state}{why}; only a finished trial can be exported; "
            f"run its sweep first: fanflare run {workspace.file_name or workspace.sweep.name}"
        )
    replicas = [r for r in results.values() if r.trial.config_id == trial.config_id]
    file = workspace.file
    return TrialFacts(
        id=trial.id,
        model=trial.model or "",
        params=dict(trial.params),
        seed=trial.seed,
        metric=trial.metric,
        metrics=dict(own.metrics),
        seeds={split: _over_seeds(replicas, split) for split in SPLITS},
        sweep=workspace.sweep.name,
        sweep_text=redact(file.text or json.dumps(file.data, indent=1)),
        version=version("fanflare"),
    )


def _over_seeds(replicas: list[TrialResult], split: str) -> SeedScores:
    scores = [score for r in replicas if (score := r.score(split)) is not None]
    summary = Summary.of(scores)
    return SeedScores(
        num_seeds=summary.n, mean=summary.mean, std=summary.std, half_width=_half_width(summary)
    )


def _half_width(summary: Summary) -> float | None:
    """Return half of the 95 % confidence interval of a mean over seeds, by Student's t."""
    from scipy import stats  # noqa: PLC0415 - takes a second, and `--help` needs none of it

    if summary.std is None:
        return None
    return float(stats.t.ppf(0.975, summary.n - 1)) * summary.std / math.sqrt(summary.n)


def _compute(node: Node, workspace: Workspace, observer: Observer) -> float:
    """Have a worker compute what the store lacks, and return the seconds it took.

    Raises:
        ExportError: A stage failed.
        InvalidSweepError: This machine lacks what the sweep's trials need.
    """
    nodes = closure(node)
    if workspace.store.present(nodes) == nodes.keys():
        return 0.0
    check_capacity(workspace, local_resources())
    observer.message("training the trial again: the store has its predictions, not its weights")
    resources = workspace.sweep.resources.unshared()
    # The same resources as in the sweep: the number of threads is part of a sum's order.
    worker = Worker(resources=resources, store=workspace.store.location)
    started_at = time.monotonic()
    for outcome in worker.run([planned_stage(node, 1) for node in nodes.values()]):
        if outcome.failure is not None:
            name = nodes[outcome.digest].stage.name
            raise ExportError(f"stage {name} failed: {outcome.failure.message}")
    return time.monotonic() - started_at


def _artifacts(node: Node, workspace: Workspace) -> dict[str, StoredArtifact]:
    records = workspace.store.find(closure(node))
    return {digest: workspace.store.open(record) for digest, record in records.items()}


@contextmanager
def _aside(folder: Path, *, force: bool) -> Iterator[Path]:
    """Yield an empty folder beside the wanted one, and put it in its place if nothing fails."""
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside, old = (
        folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}.{end}") for end in ("part", "old")
    )
    aside.mkdir()
    try:
        yield aside
        check_folder(folder, force=force)  # again: training may have taken long
        if folder.exists():
            folder.rename(old)
        aside.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
