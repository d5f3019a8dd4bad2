"""How a sweep file names the teacher of a student; looks no model up, imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, cast

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError

from pipelines.contract import InputError, load_object
from pipelines.pipeline import Pipeline

STUDENTS_PARAMS: Final = ("train_size", "validation_size", "test_size", "max_length")
"""Params in which a teacher is by default as its student."""


class SavedTeacher(BaseModel):
    """A teacher that was trained elsewhere: a model in the hub's layout with a classifying head."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    source: str = Field(min_length=1)
    """A folder (`./my-classifier`), `hub:owner/name@revision`, or `pypi:PACKAGE==VERSION/path`."""
    digest: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """SHA-256 that the folder's content or the package's file must have, 64 hex digits."""


def validated_teacher(given: Any) -> dict[str, Any]:
    """Return a teacher as plain data: `{"method", ...}` of a trial, or `{"source", ...}`.

    A trial's params stand in it where they differ from their defaults, so that tables show them
    alone; they are the student's own where :data:`STUDENTS_PARAMS` says so and none are given.

    Raises:
        ValidationError: It is neither; each fault has its place below the teacher.
        ValueError: It is no mapping and no text.
    """
    if isinstance(given, str):
        given = {"method" if given in _methods() else "source": given}
    if not isinstance(given, Mapping):
        raise ValueError("a teacher is a method, a mapping of a trial's params, or a saved model")
    if "source" in given:
        return _checked(SavedTeacher, given, "key of a saved teacher").model_dump(exclude_none=True)
    own = {name: value for name, value in given.items() if name != "model"}
    method = own.get("method")
    try:
        schema = method_schema(method)
    except (InputError, TypeError) as error:
        raise _errors([_error("method", str(error), method, _methods())]) from error
    params = _checked(schema, own, f"param of method {method!r}")
    values = params.model_dump(mode="json")
    told = set(params.model_dump(mode="json", exclude_defaults=True))
    told |= params.model_fields_set & {n for n in STUDENTS_PARAMS if values[n] is not None}
    model = {"model": given["model"]} if given.get("model") is not None else {}
    return {"method": method, **model, **{n: v for n, v in values.items() if n in told}}


Teacher = Annotated[
    dict[str, Any],
    PlainValidator(validated_teacher),
    WithJsonSchema({"type": ["string", "object"]}),
]
"""A method's name, a mapping with `method`, or the source of a saved model."""


def method_schema(method: Any) -> type[BaseModel]:
    """Return the schema of a method's params.

    Raises:
        InputError: There is no such method.
    """
    return _pipeline().params_schema(method)


def _methods() -> list[str]:
    return list(_pipeline().methods())


def _pipeline() -> Pipeline:
    # By name, because a teacher's params are those of a trial, and so are a student's.
    return cast(Pipeline, load_object("pipelines.transfer.graph:TRANSFER"))


def _checked(schema: type[BaseModel], given: Mapping[str, Any], noun: str) -> BaseModel:
    try:
        return schema.model_validate(dict(given))
    except ValidationError as error:
        unknown = [e for e in error.errors() if e["type"] == "extra_forbidden"]
        if not unknown:
            raise
        allowed = sorted(schema.model_fields)
        message = f"unknown {noun}; allowed: {', '.join(allowed)}"
        names = [str(e["loc"][-1]) for e in unknown]
        raise _errors([_error(name, message, name, allowed) for name in names]) from error


def _error(key: str, message: str, given: Any, allowed: list[str]) -> InitErrorDetails:
    context = {"message": message, "expected": ", ".join(map(repr, allowed))}
    kind = PydanticCustomError("teacher", "{message}", context)
    return InitErrorDetails(type=kind, loc=(key,), input=given)


def _errors(details: list[InitErrorDetails]) -> ValidationError:
    return ValidationError.from_exception_data("teacher", details)
