"""Placeholders in a text: `{name}` stands for a value, `{{` and `}}` for braces; runs nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from string import Formatter
from typing import Any


def placeholders(text: str) -> list[str]:
    """Return the names in a text.

    Raises:
        ValueError: A brace opens or closes no placeholder.
    """
    return [name for _, name in _parts(text) if name is not None]


def rendered(text: str, values: Mapping[str, Any]) -> str | None:
    """Return a text with all placeholders filled in, or None where one of them is null."""
    parts = []
    for literal, name in _parts(text):
        parts.append(literal)
        if name is not None:
            if values[name] is None:
                return None
            parts.append(as_text(values[name]))
    return "".join(parts)


def as_text(value: Any) -> str:
    """Return a value as a sweep file writes it: truth values are small letters."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parts(text: str) -> Iterator[tuple[str, str | None]]:
    for literal, name, form, conversion in Formatter().parse(text):
        if name == "" or form or conversion:
            raise ValueError(f"no name stands between the braces at {name!r}")
        yield literal, name
