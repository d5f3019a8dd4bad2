"""What the space of a sweep of commands may say: the fixed keys, and params of the user's own."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from pipelines.command.template import as_text
from pipelines.schema import Schema

_SCALAR = WithJsonSchema({"type": ["string", "number", "boolean", "null"]})


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError("a text, a number, true, false or null")


def _text(value: Any) -> str | None:
    return None if _scalar(value) is None else as_text(value)


Scalar = Annotated[Any, BeforeValidator(_scalar), _SCALAR]
"""What a placeholder can stand for."""
Variable = Annotated[str | None, BeforeValidator(_text), _SCALAR]
"""The value of an environment variable; numbers and truth values become text."""


class CommandParams(Schema):
    """A command of one's own; every other name in the space is a param that `{NAME}` stands for."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)
    __pydantic_extra__: dict[str, Scalar]

    command: str = Field(min_length=1)
    """The command as one text, split into words as a shell does and run without a shell."""
    metrics: str = Field(default="metrics.json", min_length=1)
    """Where metrics come from: a JSON file in `{output_dir}`, or `stdout`, or `mlflow`."""
    cwd: str = Field(default=".", min_length=1)
    """The folder in which the command runs; a relative path begins at the sweep file."""
    env: dict[Annotated[str, Field(pattern=r"^[^=]+$")], Variable] = Field(default_factory=dict)
    """Environment variables; null takes one away."""
    files: str = ""
    """Patterns of further files whose content counts, as `src/**/*.py data.csv`."""
    timeout_s: float | None = Field(default=None, gt=0)
    """Seconds after which the command is ended and the trial has failed; by default never."""

    @property
    def own(self) -> dict[str, Any]:
        """The params of the user's own."""
        return dict(self.__pydantic_extra__)
