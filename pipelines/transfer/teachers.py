"""The node that teaches a student, found at plan time; trains nothing, imports no torch."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, cast

from pipelines.contract import InputError, Node
from pipelines.models.made import given
from pipelines.pipeline import TrialSettings
from pipelines.sources import TaskKind, resolve_model
from pipelines.transfer.params import DistillParams
from pipelines.transfer.stages import TEACH
from pipelines.transfer.teacher_params import STUDENTS_PARAMS, method_schema

TEACHER: Final = "teacher"
"""The role of the teacher among a student's inputs, and the param that names it."""
TRAIN_SCORES: Final = "train_scores"
"""An extra of the stages that train: a table as `predictions`, of the training rows."""

SAVED_KINDS = frozenset(
    {
        TaskKind.CLASSIFICATION,
        TaskKind.PAIR_CLASSIFICATION,
        TaskKind.REGRESSION,
        TaskKind.PAIR_REGRESSION,
    }
)
"""Kinds of task that a saved model can teach: one answer a text, or a pair of texts."""


def teacher_node(
    trial: TrialSettings, loaded: Node, trained: Callable[[TrialSettings], Node]
) -> Node:
    """Return the node whose artifact has the table :data:`TRAIN_SCORES` for a student.

    A teacher that is a trial has the nodes of that trial, so that it is computed once, whether
    the sweep has it as a trial of its own or not.

    Args:
        trial: The student.
        loaded: The student's rows.
        trained: Gives the node that trains a trial.

    Raises:
        InputError: There is no such model, or it cannot teach this task.
    """
    params = cast(DistillParams, trial.params)
    try:
        if "source" in params.teacher:
            return _saved(trial, params, loaded)
        node = trained(_teaching_trial(trial, params))
    except InputError as error:
        raise InputError(f"the teacher: {error}", key=TEACHER, nearest=error.nearest) from error
    return replace(node, keep=node.keep | {TRAIN_SCORES})


def _teaching_trial(trial: TrialSettings, params: DistillParams) -> TrialSettings:
    # What the student leaves out the teacher leaves out too: their defaults are the same.
    own = {n: getattr(params, n) for n in STUDENTS_PARAMS if n in params.model_fields_set}
    told = {name: value for name, value in params.teacher.items() if name != "model"}
    teacher = method_schema(told["method"]).model_validate({**own, **told})
    return replace(trial, model=_model(trial, params.teacher.get("model")), params=teacher)


def _model(trial: TrialSettings, wanted: Any) -> Any:
    if wanted is None:
        return trial.model
    if isinstance(wanted, str) and wanted in trial.models:
        return trial.models[wanted]
    try:
        return resolve_model(wanted, trial.folder)
    except InputError as error:
        names = ", ".join(trial.models)
        near = difflib.get_close_matches(str(wanted), list(trial.models), n=1)
        raise InputError(
            f"{wanted!r} is not among this sweep's models ({names}), and {error}",
            nearest=near[0] if near else error.nearest,
        ) from error


def _saved(trial: TrialSettings, params: DistillParams, loaded: Node) -> Node:
    kind = trial.task.kind
    if kind not in SAVED_KINDS:
        raise InputError(
            f"a saved model teaches one answer a text, and task {trial.task.name!r} is of kind "
            f"{kind}; name a trial as the teacher, as {{method: full}}"
        )
    model = given(resolve_model({"name": TEACHER, **params.teacher}, trial.folder))
    return Node(
        stage=TEACH,
        params={"max_length": params.max_length},
        sources=model.sources,
        inputs={"examples": loaded, **model.inputs},
    )
