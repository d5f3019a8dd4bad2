"""Gives the names in a sweep their meaning: pinned models and tasks, validated params, trials.

It reads catalogues and local files; it fetches nothing that is large and computes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from orchestrator.errors import Fault, InvalidSweepError, nearest_name
from orchestrator.planning.faults import Faults, faults_of, shown
from orchestrator.planning.made_models import made_models
from orchestrator.planning.own_graph import graph_fault
from orchestrator.planning.points import points_of
from orchestrator.planning.ranking_metric import ranking_metric
from orchestrator.planning.space import Subspace, repeated_values, subspaces
from orchestrator.planning.sweep import Sweep
from orchestrator.planning.sweep_file import KeyPath, SweepFile, is_sequence
from pipelines.contract import InputError, Node
from pipelines.pipeline import Pipeline, TrialSettings
from pipelines.registry import PIPELINES, load_pipeline
from pipelines.sources import resolve_model, resolve_task
from pipelines.sources.entries import MadeModelsEntry


class _Named(Protocol):
    @property
    def name(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class GridPoint:
    """One trial before its stages are merged with those of others."""

    model: str
    task: str
    params: Mapping[str, Any]
    seed: int
    metric: str
    mode: str
    last: Node
    """The last node of its graph."""


def parse(file: SweepFile) -> Sweep:
    """Validate the content of a sweep file.

    Raises:
        InvalidSweepError: With all faults of keys, types and values.
    """
    if not isinstance(file.data, Mapping):
        fault = Fault(message=f"a sweep is a mapping of keys; given: {shown(file.data)}", line=1)
        raise InvalidSweepError([fault], str(file.path or ""))
    try:
        return Sweep.model_validate(file.data)
    except ValidationError as error:
        found = faults_of(error, Sweep, file)
        if not any("pipeline" in (fault.nearest, _first_key(fault)) for fault in found):
            found += _faults_elsewhere(file, {_first_key(fault) for fault in found})
        raise InvalidSweepError(found, str(file.path or "")) from error


def _faults_elsewhere(file: SweepFile, faulty: set[str]) -> list[Fault]:
    """Return the faults that a sweep would have without the keys that are at fault already."""
    data = {key: value for key, value in file.data.items() if key not in faulty}
    rest = replace(file, data={"name": "unnamed", **data})
    # What names a model, a task or a seed cannot be judged where the list of them is at fault.
    unknowable = tuple(f".{key}" for key in faulty)
    try:
        expand(Sweep.model_validate(rest.data), rest)
    except ValidationError:
        return []
    except InvalidSweepError as error:
        return [
            fault
            for fault in error.faults
            if fault.line and _first_key(fault) not in faulty
            if not fault.key.endswith(unknowable)
        ]
    return []


def _first_key(fault: Fault) -> str:
    return re.split(r"[.\[]", fault.key)[0]


def expand(sweep: Sweep, file: SweepFile) -> list[GridPoint]:
    """Return every trial of a sweep, each with the graph of its stages.

    Raises:
        InvalidSweepError: With all faults of names, params, axes, and of methods that do not
            apply to a model or task.
    """
    faults = Faults(file)
    try:
        pipeline = load_pipeline(sweep.pipeline)
    except InputError as error:
        nearest = nearest_name(sweep.pipeline, PIPELINES)
        faults.add(str(error), ("pipeline",), nearest)
        faults.raise_if_any()
        raise
    models = _resolve(sweep.model_entries, "models", resolve_model, pipeline.takes_models, faults)
    tasks = _resolve(sweep.task_entries, "tasks", resolve_task, pipeline.takes_tasks, faults)
    metrics = {name: ranking_metric(sweep, pipeline, task, faults) for name, task in tasks.items()}
    seeds = sweep.seed_list
    for seed in repeated_values(seeds):
        faults.add(f"seed {seed} stands there twice", ("seeds",))
    grids = [
        (subspace, points_of(subspace, pipeline, sweep.data_sizes, faults))
        for subspace in subspaces(sweep.space)
    ]
    choices = [_narrow(subspace, models, tasks, seeds, faults) for subspace, _ in grids]
    faults.raise_if_any()
    points = [
        GridPoint(
            model=settings.model.name if settings.model else "",
            task=settings.task.name if settings.task else "",
            params=settings.params.model_dump(mode="json"),
            seed=settings.seed,
            metric=metrics[settings.task.name if settings.task else ""][0],
            mode=metrics[settings.task.name if settings.task else ""][1],
            last=last,
        )
        for (subspace, params), choice in zip(grids, choices, strict=True)
        for settings, last in _graphs(pipeline, subspace, params, choice, faults)
    ]
    faults.raise_if_any()
    return points


def _resolve(
    entries: Sequence[Any], key: str, resolve: Any, wanted: bool, faults: Faults
) -> dict[str, Any]:
    """Return pinned models or tasks by name; one unnamed None where the pipeline takes none."""
    if not wanted:
        if entries:
            faults.add("this pipeline takes none", (key,))
        return {"": None}
    if not entries:
        faults.add("at least one is required", (key,))
    written_as_list = is_sequence(faults.file.data.get(key)) if faults.file.data else True
    resolved: dict[str, Any] = {}
    digests: dict[str, str] = {}
    for index, entry in enumerate(entries):
        keys: KeyPath = (key, index) if written_as_list else (key,)
        for item in _items(entry, keys, resolve, faults):
            if item.name in resolved:
                faults.add(f"{item.name!r} stands there twice", keys)
            elif item.digest in digests:
                faults.add(f"{item.name!r} has the same content as {digests[item.digest]!r}", keys)
            resolved[item.name] = item
            digests[item.digest] = item.name
    return resolved


def _items(entry: Any, keys: KeyPath, resolve: Any, faults: Faults) -> list[Any]:
    """Return what one entry stands for: a model or task, or several models to be made."""
    if isinstance(entry, MadeModelsEntry):
        return made_models(entry, keys, faults)
    try:
        return [resolve(entry, faults.file.folder)]
    except InputError as error:
        if isinstance(entry, str):  # it has no keys of its own
            faults.add(str(error), keys, error.nearest)
        else:
            faults.add_input(error, keys)
        return []


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """The part of a sweep that one mapping of the space keeps to."""

    all_models: Mapping[str, Any]
    """Those that it does not keep to as well, by name."""
    models: Sequence[Any]
    tasks: Sequence[Any]
    seeds: Sequence[int]


def _narrow(
    subspace: Subspace,
    models: Mapping[str, Any],
    tasks: Mapping[str, Any],
    seeds: Sequence[int],
    faults: Faults,
) -> _Choice:
    narrowing = subspace.narrowing
    return _Choice(
        all_models=models,
        models=_pick(narrowing, "models", models, subspace, faults),
        tasks=_pick(narrowing, "tasks", tasks, subspace, faults),
        seeds=_pick_seeds(narrowing.get("seeds"), seeds, subspace, faults),
    )


def _pick(
    narrowing: Mapping[str, Any],
    key: str,
    known: Mapping[str, Any],
    subspace: Subspace,
    faults: Faults,
) -> list[Any]:
    if key not in narrowing:
        return list(known.values())
    names = narrowing[key] if is_sequence(narrowing[key]) else [narrowing[key]]
    if not names:
        faults.add("the list is empty", (*subspace.keys, key))
    groups = [group for item in known.values() if (group := getattr(item, "group", ""))]
    allowed = list(dict.fromkeys([*known, *groups]))
    for name in names:
        if name not in allowed:
            message = f"{shown(name)} is not among this sweep's {key}: {', '.join(allowed)}"
            faults.add(message, (*subspace.keys, key), nearest_name(str(name), allowed))
    return [i for name, i in known.items() if name in names or getattr(i, "group", None) in names]


def _pick_seeds(
    given: Any, seeds: Sequence[int], subspace: Subspace, faults: Faults
) -> Sequence[int]:
    keys = (*subspace.keys, "seeds")
    if given is None:
        return seeds
    if isinstance(given, int) and not isinstance(given, bool):
        if not 1 <= given <= len(seeds):
            faults.add(f"{given} of {len(seeds)} seeds cannot be taken", keys)
        return seeds[:given]
    is_part = is_sequence(given) and not any(
        isinstance(seed, bool) or seed not in seeds for seed in given
    )
    if not given or not is_part:
        faults.add(f"not a part of this sweep's seeds {shown(list(seeds))}", keys)
        return ()
    return [seed for seed in seeds if seed in given]


def _graphs(
    pipeline: Pipeline,
    subspace: Subspace,
    points: Sequence[BaseModel],
    choice: _Choice,
    faults: Faults,
) -> Iterator[tuple[TrialSettings, Node]]:
    for model in choice.models:
        for task in choice.tasks:
            for params in points:
                for seed in choice.seeds:
                    settings = TrialSettings(
                        model=model,
                        task=task,
                        params=params,
                        seed=seed,
                        folder=faults.file.folder,
                        models=choice.all_models,
                    )
                    try:
                        last = pipeline.graph(settings)
                    except InputError as error:
                        faults.add_input(error, subspace.keys)
                        break
                    if fault := graph_fault(last):
                        faults.add(f"the graph of {pipeline.name!r} has {fault}", ("pipeline",))
                        break
                    yield settings, last
