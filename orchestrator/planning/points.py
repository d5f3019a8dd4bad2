"""From one mapping of a space to validated params; knows neither models nor tasks nor seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from orchestrator.errors import nearest_name
from orchestrator.planning.faults import Faults, faults_of, shown
from orchestrator.planning.space import Subspace, repeated_values
from orchestrator.planning.sweep_file import is_sequence
from pipelines.contract import InputError
from pipelines.pipeline import Pipeline


def points_of(
    subspace: Subspace, pipeline: Pipeline, sizes: Mapping[str, int | float | str], faults: Faults
) -> list[BaseModel]:
    """Return the validated params of one mapping of a space.

    Args:
        subspace: The mapping.
        pipeline: Whose params they are.
        sizes: What the sweep sets for all of its space; a point may say otherwise.
        faults: Takes in what is wrong; a faulty point is left out.
    """
    for name, axis in subspace.axes.items():
        keys = (*subspace.keys, name)
        values = axis if is_sequence(axis) else [axis]
        if not values:
            faults.add("the axis is empty", keys)
        for value in repeated_values(values):
            faults.add(f"{shown(value)} stands on the axis twice", keys)
        for value in values:
            if isinstance(value, float) and not math.isfinite(value):
                faults.add(f"{value} is not a finite number", keys)
    return [
        params
        for point in subspace.points()
        if (params := _params(point, subspace, pipeline, sizes, faults)) is not None
    ]


def _params(
    point: Mapping[str, Any],
    subspace: Subspace,
    pipeline: Pipeline,
    sizes: Mapping[str, int | float | str],
    faults: Faults,
) -> BaseModel | None:
    method = point.get("method")
    if not isinstance(method, str | None):
        faults.add(f"a method is a name; given: {shown(method)}", (*subspace.keys, "method"))
        return None
    try:
        schema = pipeline.params_schema(method)
    except InputError as error:
        nearest = error.nearest or nearest_name(method or "", pipeline.methods())
        faults.add(str(error), (*subspace.keys, error.key or "method"), nearest)
        return None
    known = {size: n for size, n in sizes.items() if size in schema.model_fields}
    for size in sizes.keys() - known:
        faults.add(f"pipeline {pipeline.name!r} has no param {size!r}", (size,))
    noun = f"param of method {method!r}:" if method else "param"
    try:
        return schema.model_validate({**known, **point})
    except ValidationError as error:
        faults.found += faults_of(error, schema, faults.file, keys=subspace.keys, noun=noun)
        return None
