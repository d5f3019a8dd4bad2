"""`fanflare diff`: what differs between two trials, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from rich.table import Table

from orchestrator.cli.console import (
    JsonOption,
    StoreOption,
    SweepOption,
    TrialArgument,
    print_json,
    stdout,
)
from orchestrator.comparing.diff import SPLIT, Agreement, Reason, Side, TrialDiff, difference
from orchestrator.comparing.wording import NOTHING, format_p, format_value
from orchestrator.running.diffing import diff_trials

NAME = "diff"

USED = {
    "cpu_s": "CPU seconds",
    "gpu_s": "GPU seconds",
    "peak_memory_gib": "peak memory (GiB)",
    "peak_gpu_memory_gib": "peak GPU memory (GiB)",
    "energy_kwh": "energy (kWh)",
    "emissions_kg": "emissions (kg CO2e)",
}
"""What a trial used, and how it is called."""


def diff(
    trial: TrialArgument,
    other: TrialArgument,
    sweep: SweepOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Show what differs between two trials and why: params, stages, metrics, predictions."""
    found = diff_trials(trial, other, sweep, store)
    if json:
        print_json(found.to_json())
    else:
        _show(found)


def _show(found: TrialDiff) -> None:
    first, second = found.sides
    _print(_settings(found))
    _say(_parting(found))
    _say(_stages(found))
    if found.metrics:
        _print(_metrics(found))
    if found.agreement is not None:
        _say(_predictions(found.agreement, first.result.trial.metric))
    _print(_used(first, second))


def _settings(found: TrialDiff) -> Table:
    """Return what the two are, with all in which they differ."""
    table = _table("", *(side.result.trial.id for side in found.sides))
    facts = [
        {
            "sweep": side.sweep,
            "model": side.result.trial.model,
            "task": side.result.trial.task,
            "method": side.result.trial.method,
            "seed": side.result.trial.seed,
            "state": str(side.result.state),
            "fidelity": side.result.label,
        }
        for side in found.sides
    ]
    for name in facts[0]:
        if any(fact[name] != "" for fact in facts):
            _row(table, name, *(fact[name] for fact in facts))
    for name, values in found.params.items():
        if name != "method":
            _row(table, name, *values)
    return table


def _parting(found: TrialDiff) -> str:
    parting = found.parting
    if parting is None:
        return "They are the same computation."
    return f"They part at {parting.stage}: {'; '.join(map(_reason, parting.own_reasons))}."


def _reason(reason: Reason) -> str:
    first, second = map(_value, reason.values)
    if reason.kind == "stage":
        which, stage = ("second", second) if reason.values[0] is None else ("first", first)
        return f"only the {which} has {stage}"
    return f"{reason.name} is {first} and {second}"


def _stages(found: TrialDiff) -> str:
    same = [pair.stage for pair in found.stages if pair.is_same]
    other = [pair.stage for pair in found.stages if not pair.is_same]
    shared = f"{len(same)} of {len(found.stages)} stages are the same"
    return f"{shared}{_listed(same)}; different{_listed(other)}." if other else f"{shared}."


def _listed(stages: Iterable[str]) -> str:
    names = ", ".join(stages)
    return f": {names}" if names else ""


def _metrics(found: TrialDiff) -> Table:
    table = _table("metric", *(side.result.trial.id[:8] for side in found.sides), "difference")
    for name, values in found.metrics.items():
        change = difference(values)
        change_text = NOTHING if change is None else f"{change:+.4f}"
        table.add_row(name, *(NOTHING if v is None else f"{v:.4f}" for v in values), change_text)
    return table


def _predictions(found: Agreement, metric: str) -> str:
    if found.num_flipped is None:
        text = f"{found.num_rows:,} {SPLIT} rows: on average {found.mean_difference:.3g} apart"
    else:
        text = f"{found.num_flipped:,} of {found.num_rows:,} {SPLIT} rows are given another class"
        if found.kappa is not None:
            text += f"; Cohen's kappa {found.kappa:.3f}"
    if found.p is not None:
        text += f"; {metric} over examples: p = {format_p(found.p)} ({found.test})"
    return f"{text}."


def _used(first: Side, second: Side) -> Table:
    table = _table("its own stages", first.result.trial.id[:8], second.result.trial.id[:8])
    _row(table, "seconds", first.result.duration_s, second.result.duration_s)
    used: list[dict[str, Any]] = [
        asdict(side.result.usage) if side.result.usage else {} for side in (first, second)
    ]
    for name, label in USED.items():
        values = [part.get(name) for part in used]
        if values != [None, None]:
            _row(table, label, *values)
    return table


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", justify="right" if number > 2 else "left")
    return table


def _row(table: Table, name: str, *values: Any) -> None:
    table.add_row(name, *map(_value, values))


def _value(value: Any) -> str:
    if value is None or value == "":
        return NOTHING
    return f"{value:.4g}" if isinstance(value, float) else format_value(value)


def _print(table: Table) -> None:
    stdout().print(table, highlight=False, markup=False)
    stdout().print()


def _say(text: str) -> None:
    stdout().print(text, highlight=False, markup=False)
