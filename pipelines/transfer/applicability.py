"""Which method applies to which model and task, told at plan time; imports no torch."""

from __future__ import annotations

from pipelines.contract import InputError, TrialSettings
from pipelines.sources.base import Task
from pipelines.transfer.params import DEFAULT_POOLING


def check_applies(trial: TrialSettings) -> None:
    """Check that a trial's method and params make sense for its model and task.

    Raises:
        InputError: They do not; `key` names the param.
    """
    _check_pooling(getattr(trial.params, "pooling", DEFAULT_POOLING), trial.task)


def _check_pooling(pooling: str, task: Task) -> None:
    if task.kind.labels_words and pooling != DEFAULT_POOLING:
        raise InputError(
            f"task {task.name!r} labels words, whose features are not pooled; leave `pooling` out "
            f"or at {DEFAULT_POOLING}, or name the tasks that it is for under `tasks`",
            key="pooling",
            nearest=DEFAULT_POOLING,
        )
