"""How numbers, intervals, times and names read on the page; knows no section."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from orchestrator.comparing.choice import SWEEP
from orchestrator.comparing.page.blocks import Cell
from orchestrator.comparing.wording import NOTHING, format_params, format_value

MAX_TEXT = 300
"""Characters of a name or message that a cell shows."""


def number(value: float | None) -> str:
    """Return a score as tables show it: three decimals, or three digits where that hides it."""
    if value is None:
        return NOTHING
    is_usual = value == 0 or 1e-3 <= abs(value) < 1e4
    return (f"{value:.3f}" if is_usual else f"{value:.3g}").replace("-", "−")


def two_digits(value: float | None) -> str:
    """Return a number with two decimals, such as a mean rank."""
    return NOTHING if value is None else f"{value:.2f}".replace("-", "−")


def interval(bounds: Sequence[float] | None) -> str:
    """Return an interval as `[low, high]`, or nothing where there is none."""
    return f"[{number(bounds[0])}, {number(bounds[1])}]" if bounds else ""


def seconds(value: float | None) -> str:
    """Return a duration in the units in which people tell it."""
    if value is None:
        return NOTHING
    if value < 60:
        return f"{value:.3g} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def moment(value: float | str | None) -> str:
    """Return a time, given in Unix seconds or as text, in UTC to the minute."""
    if isinstance(value, int | float) and value:
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M")
    return str(value) if value else ""


def shortened(text: str, length: int = MAX_TEXT) -> str:
    """Return a text that is not longer than that many characters."""
    if len(text) <= length:
        return text
    tail = (length - 1) // 3  # names often differ at their end
    return f"{text[: length - 1 - tail]}…{text[-tail:]}"


def text_cell(value: Any) -> Cell:
    """Return a cell of whatever a sweep wrote."""
    if value is None:
        return Cell(text=NOTHING, sort="")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Cell(text=format_value(value), sort=float(value))
    shown = format_value(value) if isinstance(value, Mapping) else as_text(value)
    return Cell(text=shortened(shown))


def number_cell(value: float | None, text: str | None = None) -> Cell:
    """Return a cell of a number, written as :func:`number` does unless a text is given."""
    return Cell(text=number(value) if text is None else text, sort=value)


def as_text(value: Any) -> str:
    """Return a value as text; lists and mappings as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


class Names:
    """What the models, methods and configs of a report are called, each as short as is clear."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.tasks: Mapping[str, Sequence[Mapping[str, Any]]] = data["leaderboard"]["tasks"]
        rows = [row for task in self.tasks.values() for row in task]
        self.models = list(dict.fromkeys(row["model"] for row in rows))
        self.methods = list(dict.fromkeys(row["method"] for row in rows))
        self.rows = {row["config_id"]: row for row in rows}

    def label(self, config_id: str) -> str:
        """Return a config's name: its params, and before them what not all configs share."""
        row = self.rows.get(config_id)
        if row is None:
            return config_id
        parts = [*self._varying(row), format_params(row["params"])]
        name = " ".join(part for part in parts if part)
        return name or row["method"] or row["model"] or "the config"

    def pair(self, row: Mapping[str, Any]) -> str:
        """Return the model and method of a row, or the one of the two that varies."""
        parts = [*self._varying(row), str(row["params"].get(SWEEP, ""))]
        return " ".join(part for part in parts if part) or row["method"] or row["model"] or "all"

    def _varying(self, row: Mapping[str, Any]) -> list[str]:
        nouns = (("model", self.models), ("method", self.methods))
        return [row[noun] for noun, known in nouns if len(known) > 1]
