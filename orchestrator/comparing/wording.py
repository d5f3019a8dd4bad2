"""How configs, params and scores are written in tables; computes nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from orchestrator.comparing.configs import ConfigRow, Summary

NOTHING = "–"
"""What stands where there is no value."""


def format_params(params: Mapping[str, Any]) -> str:
    """Return params as people write them, `learning_rate=0.01 epochs=20`."""
    return " ".join(f"{name}={format_value(value)}" for name, value in params.items())


def format_value(value: Any) -> str:
    """Return one value of a param, numbers without needless digits.

    A param that is itself a method with its params reads as a call, `full(epochs=5)`.
    """
    if isinstance(value, Mapping):
        inside = [f"{n}={format_value(v)}" for n, v in value.items() if n != "method"]
        head = str(value.get("method", ""))
        return f"{head}({', '.join(inside)})" if inside or not head else head
    if not isinstance(value, float):
        return str(value)
    short = f"{value:g}"
    return short if float(short) == value else str(value)  # two values never read alike


def config_label(row: ConfigRow) -> str:
    """Return how a config is called in a table, leaving out what all configs share."""
    return " ".join(part for part in (row.model, row.method, format_params(row.params)) if part)


def format_number(value: float | None) -> str:
    """Return a score: three decimals, or three digits where that hides it; a dash for none."""
    return NOTHING if value is None else f"{value:{_digits(value)}}"


def format_summary(summary: Summary) -> str:
    """Return `mean ± std` over seeds, or a dash where there is no value."""
    return format_mean(summary.mean, summary.std)


def format_mean(mean: float | None, std: float | None) -> str:
    """Return `mean ± std`, a mean without spread, or a dash where there is no value."""
    if mean is None or std is None:
        return format_number(mean)
    return f"{format_number(mean)} ± {std:{_digits(mean)}}"


def _digits(value: float) -> str:
    """Return how a score and its spread are printed, in the language of :func:`format`."""
    if not 0 < abs(value) < 1e-3:
        return ".3f"
    if abs(value) < 1e-6:
        return ".3g"
    return f".{2 - math.floor(math.log10(abs(value)))}f"


def format_score(row: ConfigRow, split: str) -> str:
    """Return `mean ± std` of a split, or a dash where there is no value."""
    return format_summary(row.scores[split])


def format_p(value: float | None) -> str:
    """Return a p-value; of small ones only the bound matters."""
    if value is None:
        return NOTHING
    return "<0.001" if value < 1e-3 else f"{value:.3f}"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun, `1 seed` or `5 seeds`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
