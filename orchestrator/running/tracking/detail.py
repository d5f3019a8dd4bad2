"""How much of a sweep MLflow shows: decides by counts alone, writes nothing."""

from __future__ import annotations

from typing import Literal

Detail = Literal["trial", "config", "sweep"]
"""The smallest thing that has a run of its own: a trial, a config, or only the sweep."""

MAX_RUNS = 2_000
"""Runs of one kind that `auto` makes. MLflow's page loads runs by the hundred and compares a few
hundred; a run takes its database milliseconds to write and some 10 KiB to keep."""


def detail_of(
    wanted: Literal["auto", "trial", "config", "sweep"], num_trials: int, num_configs: int
) -> Detail:
    """Return what has runs in a sweep of so many trials and configs."""
    if wanted != "auto":
        return wanted
    if num_trials <= MAX_RUNS:
        return "trial"
    return "config" if num_configs <= MAX_RUNS else "sweep"
