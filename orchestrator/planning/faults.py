"""Turns pydantic's errors into faults that a user understands; knows no particular model."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.errors import Fault, nearest_name
from orchestrator.planning.sweep_file import KeyPath, SweepFile

MAX_SHOWN_CHARS = 60
"""A given value is cut to this length in a message."""


def faults_of(
    error: ValidationError,
    schema: type[BaseModel],
    file: SweepFile,
    *,
    keys: KeyPath = (),
    noun: str = "key",
) -> list[Fault]:
    """Return one fault for each of pydantic's errors.

    Args:
        error: What pydantic raised.
        schema: The model that was validated; its fields are the names that are allowed.
        file: Where the data came from.
        keys: Where in the file the validated mapping stands.
        noun: What an unknown key is called.
    """
    return [
        _fault(details, schema, file, keys, noun) for details in error.errors(include_url=False)
    ]


def shown(value: Any) -> str:
    """Return a given value as a message shows it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_CHARS else text[: MAX_SHOWN_CHARS - 3] + "..."


def _fault(
    details: ErrorDetails, schema: type[BaseModel], file: SweepFile, keys: KeyPath, noun: str
) -> Fault:
    location = _without_tags(details["loc"], schema)
    path = (*keys, *location)
    if details["type"] == "extra_forbidden":
        allowed = sorted(_schema_at(schema, location[:-1]).model_fields)
        name = str(location[-1])
        message = f"unknown {noun} {name!r}; allowed: {', '.join(allowed)}"
        return file.fault(message, path, nearest=nearest_name(name, allowed))
    if details["type"] == "missing":
        return file.fault(f"{noun} {str(location[-1])!r} is required", path)
    message = details["msg"].removeprefix("Value error, ")
    nearest = ""
    expected = details.get("ctx", {}).get("expected")
    if expected and isinstance(details["input"], str):
        nearest = nearest_name(details["input"], re.findall(r"'([^']*)'", str(expected)))
    return file.fault(f"{message}; given: {shown(details['input'])}", path, nearest=nearest)


def _without_tags(location: tuple[int | str, ...], schema: type[BaseModel]) -> KeyPath:
    """Drop the names of union branches that pydantic puts into a location."""
    tags = {"str", "list", "mapping", "int"} - set(schema.model_fields)
    return tuple(part for part in location if part not in tags)


def _schema_at(schema: type[BaseModel], location: KeyPath) -> type[BaseModel]:
    """Return the model that stands at a location inside a model."""
    for key in location:
        if isinstance(key, int):
            continue
        nested = list(_models_in(schema.model_fields[key].annotation))
        if not nested:
            break
        schema = nested[0]
    return schema


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models_in(argument)
