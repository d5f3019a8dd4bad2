"""Which method applies to which model and task, told at plan time; imports no torch.

A message names what is at fault and no more, so that a fault of a model is told once, however
many tasks, points and seeds meet it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipelines.contract import InputError
from pipelines.models.facts import facts_of, num_frozen
from pipelines.pipeline import TrialSettings
from pipelines.schema import per_class
from pipelines.sources.base import Task
from pipelines.sources.facts import ModelFacts
from pipelines.transfer.params import DEFAULT_POOLING

HEADLESS_METHODS = frozenset({"probe", "distill"})
"""Methods that train a new head on pooled features, which predicting tokens has no use for."""
ADAPT = "adapt+"
"""Begins the names of methods that go on pre-training first."""
LENGTHS = ("max_length", "adapt_max_length")
"""Params that say how many tokens a model is given at once."""
ONLY_FITTING = "name the models that it is for under `models`"


@dataclass(frozen=True, kw_only=True)
class _Case:
    """What is asked of a model."""

    name: str
    """Of the model."""
    facts: ModelFacts
    task: Task
    params: Any

    def has(self, param: str, default: Any = None) -> Any:
        """Return a param, or the default where the method has none of this name."""
        return getattr(self.params, param, default)


def check_applies(trial: TrialSettings) -> None:
    """Check that a trial's method and params make sense for its model and task.

    A model that the sweep makes itself may be one of which nothing is known yet; then the task
    alone is checked.

    Raises:
        InputError: They do not, or the model's configuration cannot be had; `key` names the
            param, or `models` where the model itself does not fit.
    """
    _check_task(trial.params, trial.task)
    facts = facts_of(trial.model)
    if facts is None:
        return
    case = _Case(name=trial.model.name, facts=facts, task=trial.task, params=trial.params)
    for check in _CHECKS:
        check(case)


def _check_task(params: Any, task: Task) -> None:
    _check_train_size(getattr(params, "train_size", None), task)
    method = getattr(params, "method", "")
    if task.kind.is_unlabelled and method.rpartition("+")[2] in HEADLESS_METHODS:
        raise InputError(
            f"method {method!r} trains a head on pooled features, which does not apply to the "
            f"language modelling of task {task.name!r}; train the model, as with 'full' or "
            "'lora', or name the tasks that it is for under `tasks`",
            key="method",
            nearest="full",
        )
    _check_no_length(params, task)
    pooling = getattr(params, "pooling", DEFAULT_POOLING)
    if pooling != DEFAULT_POOLING and (task.kind.labels_words or task.kind.is_unlabelled):
        what = "labels words" if task.kind.labels_words else "predicts tokens"
        raise InputError(
            f"task {task.name!r} {what}, whose features are not pooled; leave `pooling` out "
            f"or at {DEFAULT_POOLING}, or name the tasks that it is for under `tasks`",
            key="pooling",
            nearest=DEFAULT_POOLING,
        )


def _check_no_length(params: Any, task: Task) -> None:
    if task.kind.has_images and "max_length" in params.model_fields_set:
        raise InputError(
            f"task {task.name!r} has images, to which max_length does not apply; leave it out, or "
            "name the tasks that it is for under `tasks`",
            key="max_length",
        )


def _check_train_size(size: int | float | str | None, task: Task) -> None:
    number = per_class(size)
    if number is not None and not task.kind.has_classes:
        raise InputError(
            f"task {task.name!r} is of kind {task.kind}, whose rows are of no class; let "
            f"train_size be a number of rows or a fraction of them, not {size!r}, or name the "
            "tasks that it is for under `tasks`",
            key="train_size",
            nearest=str(number),
        )


def _check_modality(case: _Case) -> None:
    wanted = "image" if case.task.kind.has_images else "text"
    if case.facts.modality != wanted:
        raise InputError(
            f"model {case.name!r} takes {_plural(case.facts.modality)}, and task "
            f"{case.task.name!r} has {_plural(wanted)}; write a mapping of the space for each "
            "kind, with its own `models` and `tasks`",
            key="models",
        )


def _plural(modality: str) -> str:
    return {"image": "images"}.get(modality, modality)


def _check_shape(case: _Case) -> None:
    if case.facts.is_encoder_decoder:
        raise InputError(
            f"model {case.name!r} is an encoder-decoder, to which no method applies; take an "
            "encoder (as BERT) or a decoder (as GPT-2)",
            key="models",
        )


def _check_language(case: _Case) -> None:
    if case.task.kind.is_unlabelled and not case.facts.can_generate:
        raise InputError(
            f"model {case.name!r} is no decoder, and task {case.task.name!r} asks for each next "
            f"token; take a causal model (as GPT-2), or {ONLY_FITTING}",
            key="models",
        )
    method = case.has("method", "")
    if method.startswith(ADAPT) and not (case.facts.can_fill_masks or case.facts.can_generate):
        raise InputError(
            f"method {method!r} goes on pre-training, and transformers has no "
            f"language-modelling head for model {case.name!r}; take "
            f"{method.removeprefix(ADAPT)!r}, or {ONLY_FITTING}",
            key="method",
            nearest=method.removeprefix(ADAPT),
        )


def _check_pooling(case: _Case) -> None:
    if case.has("pooling") == "cls" and not case.facts.has_first_token:
        why = (
            "whose first token sees no other (it is a decoder)"
            if case.facts.is_causal
            else "which has no first token that stands for the whole input"
        )
        raise InputError(
            f"pooling 'cls' does not apply to model {case.name!r}, {why}; take "
            f"{DEFAULT_POOLING!r} or 'max', or {ONLY_FITTING}",
            key="pooling",
            nearest=DEFAULT_POOLING,
        )


def _check_layers(case: _Case) -> None:
    frozen, num_layers = case.has("frozen_layers"), case.facts.num_layers
    depends = frozen is not None or case.has("layer_decay", 1.0) != 1.0
    if depends and not num_layers:
        raise InputError(
            f"model {case.name!r} has no list of layers, which method {case.params.method!r} "
            f"needs as asked; take 'full' with layer_decay 1, or {ONLY_FITTING}",
            key="method",
            nearest="full",
        )
    if frozen is None:
        return
    most = num_layers if case.has("target_modules") is None else num_layers - 1
    try:
        count = num_frozen(frozen, num_layers)
    except InputError as error:
        message = f"of model {case.name!r} {error}; take a fraction, or {ONLY_FITTING}"
        raise InputError(message, key=error.key, nearest=str(most)) from error
    if count > most:
        raise InputError(
            f"method {case.params.method!r} adapts the layers above the frozen ones, and of the "
            f"{num_layers} of model {case.name!r} none is left; freeze fewer, or {ONLY_FITTING}",
            key="frozen_layers",
            nearest=str(most),
        )


def _check_adapters(case: _Case) -> None:
    target = case.has("target_modules")
    if target is None:
        return
    if not case.facts.has_linear_layers:
        method = case.params.method
        raise InputError(
            f"method {method!r} adapts linear maps, of which the layers of model {case.name!r} "
            f"have none; take {method.replace('lora', 'partial')!r}, or {ONLY_FITTING}",
            key="method",
            nearest=method.replace("lora", "partial"),
        )
    if target == "attention" and not case.facts.has_attention:
        raise InputError(
            f"model {case.name!r} has no attention to adapt; take 'all-linear', or {ONLY_FITTING}",
            key="target_modules",
            nearest="all-linear",
        )


def _check_length(case: _Case) -> None:
    limit = case.facts.max_length
    for param in LENGTHS:
        length = case.has(param)
        if limit is not None and length is not None and length > limit:
            raise InputError(
                f"model {case.name!r} takes {limit} tokens at most, fewer than {length}; lower "
                f"{param} or {ONLY_FITTING}",
                key=param,
                nearest=str(limit),
            )


_CHECKS: tuple[Callable[[_Case], None], ...] = (
    _check_modality,
    _check_shape,
    _check_language,
    _check_pooling,
    _check_layers,
    _check_adapters,
    _check_length,
)
