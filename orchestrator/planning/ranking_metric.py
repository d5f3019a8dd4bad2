"""Which metric ranks the trials of a sweep, and whether they can give it; ranks nothing."""

from __future__ import annotations

from typing import Any

from orchestrator.errors import nearest_name
from orchestrator.planning.faults import Faults
from orchestrator.planning.sweep import Sweep
from orchestrator.planning.sweep_file import KeyPath
from pipelines.pipeline import MetricNames, Pipeline

SPLITS = ("train", "validation", "test")


def ranking_metric(sweep: Sweep, pipeline: Pipeline, task: Any, faults: Faults) -> tuple[str, str]:
    """Return name and mode of the metric that ranks trials on a task.

    Args:
        sweep: What the file says.
        pipeline: What knows the metrics of its trials.
        task: A pinned task, or None.
        faults: Takes in what is wrong.
    """
    known = pipeline.metrics(task)
    if not known:
        return _open_metric(sweep, pipeline, faults)
    default = task.metric if task is not None else next(iter(known))
    name = sweep.metric.name if sweep.metric else default
    if name not in known:
        where = f" on task {task.name!r}" if task is not None else ""
        message = f"unknown metric {name!r}{where}; there are {', '.join(known)}"
        keys: KeyPath = ("metric", "name") if sweep.metric else ("tasks",)
        faults.add(message, keys, nearest_name(name, known))
        return name, "max"
    mode = sweep.metric.mode if sweep.metric and sweep.metric.mode else known[name]
    return name, mode


def _open_metric(sweep: Sweep, pipeline: Pipeline, faults: Faults) -> tuple[str, str]:
    """Return name and mode of the metric where the pipeline cannot know which there will be."""
    if sweep.metric is None:
        message = "required by this pipeline, as {name: accuracy, mode: max}"
        faults.add(message, ("metric",))
        return "", "max"
    if sweep.metric.mode is None:
        faults.add("required by this pipeline: max or min", ("metric", "mode"))
    name = sweep.metric.name
    given = pipeline.result_name(name) if isinstance(pipeline, MetricNames) else name
    split, _, metric = given.partition("/")
    if split in SPLITS and metric and given != f"validation/{name}":
        message = f"{name!r} names a split; trials are ranked on the validation split"
        faults.add(message, ("metric", "name"), metric)
    return name, sweep.metric.mode or "max"
