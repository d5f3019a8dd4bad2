"""What the schemas of a sweep share: no truth value for a number, and the sizes of splits."""

from __future__ import annotations

import math
import re
import typing
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

_PER_CLASS = re.compile(r"([1-9][0-9]*)\s+per\s+class")
_COUNT_OR_FRACTION = [
    {"type": "integer", "minimum": 1},
    {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
]


class Schema(BaseModel):
    """A schema that refuses `true` for 1; pydantic on its own takes it for a number."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and info.field_name in cls.model_fields:
            types = set(_leaves(cls.model_fields[info.field_name].annotation))
            if types & {int, float} and bool not in types:
                raise ValueError("a number is wanted, not true or false")
        return value


def _leaves(annotation: Any) -> typing.Iterator[Any]:
    arguments = typing.get_args(annotation)
    if not arguments:
        yield annotation
    for argument in arguments:
        yield from _leaves(argument)


def per_class(size: int | float | str | None) -> int | None:
    """Return the N of the size `N per class`; None for sizes of another form."""
    match = _PER_CLASS.fullmatch(size) if isinstance(size, str) else None
    return int(match[1]) if match else None


def _train_size(value: Any) -> int | float | str | None:
    if isinstance(value, str) and (number := per_class(value.strip())):
        return f"{number} per class"
    return _whole_is_all(value, "a number of rows, a fraction of them, or `16 per class`")


def _test_size(value: Any) -> int | float | None:
    return _whole_is_all(value, "a number of rows, or a fraction of them")


def _whole_is_all(value: Any, allowed: str) -> int | float | None:
    size = _count_or_fraction(value, allowed)
    return None if size == 1 and isinstance(size, float) else size


def _validation_size(value: Any) -> int | float | None:
    allowed = "a number of rows, or a fraction of them below 1"
    size = _count_or_fraction(value, allowed)
    if size == 1 and isinstance(size, float):  # where it is taken out of training, none is left
        raise ValueError(allowed)
    return size


def _count_or_fraction(value: Any, allowed: str) -> int | float | None:
    """Return a count as an int, a fraction as a float up to 1.0, which is all there is."""
    if value is None:
        return None
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    is_whole = value == "1.0" or (isinstance(value, float) and value == 1)
    if 0 < number < 1 or is_whole:
        return number
    if number < 1 or not number.is_integer():  # as a number that is not finite is not
        raise ValueError(allowed)
    return int(number)


TrainSize = Annotated[
    int | float | str | None,
    BeforeValidator(_train_size),
    WithJsonSchema(
        {
            "anyOf": [
                *_COUNT_OR_FRACTION,
                {"type": "string", "pattern": f"^{_PER_CLASS.pattern}$"},
                {"type": "null"},
            ]
        }
    ),
]
"""Rows, a fraction of those there are (1.0 becomes None, which is all), or `N per class`."""
ValidationSize = Annotated[
    int | float | None,
    BeforeValidator(_validation_size),
    WithJsonSchema({"anyOf": [*_COUNT_OR_FRACTION, {"type": "null"}]}),
]
"""Rows, or a fraction below 1."""
TestSize = Annotated[
    int | float | None,
    BeforeValidator(_test_size),
    WithJsonSchema({"anyOf": [*_COUNT_OR_FRACTION, {"type": "null"}]}),
]
"""Rows, or a fraction of those there are (1.0 becomes None, which is all)."""
