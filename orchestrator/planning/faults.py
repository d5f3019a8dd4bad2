"""Collects faults, and makes them of pydantic's errors; knows no particular model."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import ErrorDetails

from cluster.addresses import without_password
from orchestrator.errors import Fault, InvalidSweepError, nearest_name
from orchestrator.planning.sweep_file import KeyPath, SweepFile
from pipelines.contract import InputError

MAX_SHOWN_CHARS = 60
"""A given value is cut to this length in a message."""


@dataclass
class Faults:
    """Collects faults, so that all of a file are told at once."""

    file: SweepFile
    found: list[Fault] = field(default_factory=list)

    def add(self, message: str, keys: KeyPath, nearest: str = "") -> None:
        """Take in a fault at a key path."""
        self.found.append(self.file.fault(message, keys, nearest=nearest))

    def add_input(self, error: InputError, keys: KeyPath) -> None:
        """Take in what a pipeline or a source found under a key path."""
        self.add(str(error), (*keys, error.key) if error.key else keys, error.nearest)

    def raise_if_any(self) -> None:
        """Raise what was found.

        Raises:
            InvalidSweepError: With all faults.
        """
        if self.found:
            raise InvalidSweepError(self.found, str(self.file.path or ""))


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
    """Return a given value as a message shows it, without passwords, cut where it is long."""
    text = without_password(repr(value))
    return text if len(text) <= MAX_SHOWN_CHARS else text[: MAX_SHOWN_CHARS - 3] + "..."


def _fault(
    details: ErrorDetails, schema: type[BaseModel], file: SweepFile, keys: KeyPath, noun: str
) -> Fault:
    location = _without_tags(details["loc"], schema)
    path = (*keys, *location)
    if details["type"] == "extra_forbidden":
        allowed = sorted(_schema_at(schema, details["loc"][:-1]).model_fields)
        name = str(location[-1])
        message = f"unknown {noun} {name!r}; allowed: {', '.join(allowed)}"
        return file.fault(message, path, nearest=nearest_name(name, allowed))
    if details["type"] == "missing":
        return file.fault(f"{noun} {str(location[-1])!r} is required", path)
    message = details["msg"].removeprefix("Value error, ")
    if details["type"] == "string_pattern_mismatch":  # people read the description, not the pattern
        field = _schema_at(schema, details["loc"][:-1]).model_fields.get(str(location[-1]))
        message = " ".join((field.description or message if field else message).split())
    nearest = str(details.get("ctx", {}).get("nearest", ""))
    expected = details.get("ctx", {}).get("expected")
    if expected and isinstance(details["input"], str):
        nearest = nearest_name(details["input"], re.findall(r"'([^']*)'", str(expected)))
    return file.fault(f"{message}; given: {shown(details['input'])}", path, nearest=nearest)


TAGS = frozenset({"str", "list", "mapping", "int", "made", "volume"})
"""The names of union branches, which pydantic puts into a location."""


def _without_tags(location: tuple[int | str, ...], schema: type[BaseModel]) -> KeyPath:
    """Drop the names of union branches from a location."""
    tags = TAGS - set(schema.model_fields)
    return tuple(part for part in location if part not in tags)


def _schema_at(schema: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the model that stands at a location inside a model, its tags still in it."""
    nested: list[tuple[str, type[BaseModel]]] = []
    for part in location:
        if isinstance(part, int):
            continue
        if part in schema.model_fields:
            nested = list(_models_in(schema.model_fields[part].annotation))
            schema = nested[0][1] if nested else schema
        else:
            schema = dict(nested).get(part, schema)
    return schema


def _models_in(annotation: Any, tag: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the models of an annotation, each with the name of its union branch."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield tag, annotation
    arguments = typing.get_args(annotation)
    own = next((part.tag for part in arguments if isinstance(part, Tag)), tag)
    for argument in arguments:
        yield from _models_in(argument, own)
