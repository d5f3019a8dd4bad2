"""The nodes of language modelling in a trial: adapting a model, and the task; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from pipelines.contract import InputError, Node
from pipelines.language.stages import BLOCKS, TEXTS
from pipelines.models.facts import facts_of
from pipelines.models.made import Given, MadeModel, given
from pipelines.pipeline import TrialSettings
from pipelines.sources import Model, Task, resolve_corpus
from pipelines.transfer.adapt_params import LOOP, PREFIX, AdaptFields
from pipelines.transfer.stages import ADAPT, LOAD, language_modeling_stage

METHOD_PREFIX = "adapt+"
"""Begins the names of methods that adapt the model first."""
TRAIN_AND_VALIDATION = ("train", "validation")
ALL_SPLITS = (*TRAIN_AND_VALIDATION, "test")


def modelling_node(
    params: Mapping[str, Any], loaded: Node, inspected: Node, base: Given, model: Given
) -> Node:
    """Return the node that trains a causal model on a task of language modelling.

    Args:
        params: What is left of the trial's params, `max_length` and `seed` among them.
        loaded: The task's texts.
        inspected: The model that makes the tokens.
        base: How nodes are given that model.
        model: How a node is given the model to train.

    Raises:
        InputError: A param is given of a head that a language model does not need.
    """
    if params.get("head_learning_rate") is not None:
        raise InputError(
            "`head_learning_rate` is that of a new head; a language model has its own, which "
            "learns with the rest of it",
            key="head_learning_rate",
        )
    unused = ("max_length", "pooling", "head_learning_rate")
    blocks = Node(
        stage=BLOCKS,
        params={"max_length": params["max_length"], "splits": list(ALL_SPLITS)},
        sources=base.sources,
        inputs={"examples": loaded, "inspected": inspected, **base.inputs},
    )
    return Node(
        stage=language_modeling_stage(params),
        params={name: value for name, value in params.items() if name not in unused},
        sources=model.sources,
        inputs={"blocks": blocks, **model.inputs},
    )


def without_adapting(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the params of the method that comes after adapting, if any did come before."""
    method = params["method"].removeprefix(METHOD_PREFIX)
    return {n: v for n, v in params.items() if n not in AdaptFields.model_fields} | {
        "method": method
    }


def adapted_model(trial: TrialSettings, data: Mapping[str, Any]) -> Model | MadeModel:
    """Return the model that a trial transfers: its own, or what adapting makes of it.

    Neither the trial's seed nor its method enters, so that equal ones are adapted once.

    Args:
        trial: Whose method may adapt.
        data: The sizes of the task's splits; none of its validation and test texts is learnt.

    Raises:
        InputError: There is no such corpus, or the model takes no blocks of this length.
    """
    fields = trial.params
    if not isinstance(fields, AdaptFields):
        return cast("Model | MadeModel", trial.model)
    _check_length(trial, fields.adapt_max_length)
    model = given(trial.model)
    if fields.adapt_corpus is None:
        sizes = {**data, "train_size": fields.adapt_size}
        texts = Node(stage=LOAD, params=sizes, sources={"task": trial.task})
    else:
        size = {} if fields.adapt_size is None else {"train_size": fields.adapt_size}
        corpus = _corpus(fields.adapt_corpus, trial)
        texts = Node(stage=TEXTS, params=size, sources={"corpus": corpus})
    blocks = Node(
        stage=BLOCKS,
        params={"max_length": fields.adapt_max_length, "splits": list(TRAIN_AND_VALIDATION)},
        sources=model.sources,
        inputs={"examples": texts, **model.inputs},
    )
    not_of_the_loop = {"adapt_corpus", "adapt_size", "adapt_max_length"}
    params = {
        name.removeprefix(PREFIX): getattr(fields, name)
        for name in AdaptFields.model_fields
        if name not in not_of_the_loop
    }
    node = Node(
        stage=ADAPT,
        params={**LOOP, **params},
        sources=model.sources,
        inputs={"blocks": blocks, **model.inputs},
    )
    return MadeModel(name=trial.model.name, node=node, facts=facts_of(trial.model))


def _check_length(trial: TrialSettings, length: int) -> None:
    facts = facts_of(trial.model)
    if facts is not None and facts.max_length is not None and length > facts.max_length:
        raise InputError(
            f"model {trial.model.name!r} has positions for {facts.max_length} tokens, fewer than "
            f"{length}",
            key="adapt_max_length",
            nearest=str(facts.max_length),
        )


def _corpus(entry: str, trial: TrialSettings) -> Task:
    try:
        corpus = _resolved(entry, trial.folder, _stamp(entry, trial.folder))
    except InputError as error:
        raise InputError(str(error), key="adapt_corpus", nearest=error.nearest) from error
    if corpus.source.identity == trial.task.source.identity:
        raise InputError(
            f"the corpus is task {trial.task.name!r} itself, with the texts on which it is "
            "tested; leave `adapt_corpus` out to adapt to its training texts",
            key="adapt_corpus",
        )
    return replace(corpus, description="")


@lru_cache(maxsize=16)
def _resolved(entry: str, folder: Path, stamp: tuple[float, ...]) -> Task:
    """Return a corpus, read once for all trials of a plan as long as its files do not change."""
    del stamp
    return resolve_corpus(entry, folder)


def _stamp(entry: str, folder: Path) -> tuple[float, ...]:
    path = folder / Path(entry).expanduser()
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return tuple(file.stat().st_mtime for file in files if file.is_file())
