"""The sections that set choices against each other, task by task and pair by pair; test nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.comparing.overall import mode_of_mean
from orchestrator.comparing.page.blocks import Block, Cell, Column, Figure, Section, Table
from orchestrator.comparing.page.plots import COLOURS, Dots, interval_plot, layout
from orchestrator.comparing.page.values import (
    Names,
    interval,
    number,
    number_cell,
    text_cell,
    two_digits,
)
from orchestrator.comparing.wording import format_p, plural

Data = Mapping[str, Any]

NUM_DOTS = 30
"""Differences of a plot."""
NUM_ROWS = 20
"""Differences of the table that show before one asks for more."""


def matrix(data: Data, names: Names) -> Section | None:
    """Return the chosen configs' test scores as models and methods x tasks, as GLUE shows them."""
    scores: dict[str, dict[str, Data]] = {}
    for row in data.get("chosen") or []:
        if (row.get("test") or {}).get("mean") is not None:
            scores.setdefault(names.pair(row), {})[row["task"]] = row
    tasks = [task for task in names.tasks if any(task in found for found in scores.values())]
    if len(tasks) < 2:
        return None
    heat = {task: _heats(task, scores) for task in tasks}
    rows = [names.tasks[task][0] for task in tasks]
    has_mean = mode_of_mean((row["mode"], row["metric"]) for row in rows) is not None
    columns = [Column(label=_noun(names)), *[Column(label=t, is_number=True) for t in tasks]]
    columns += [Column(label="mean", is_number=True)] if has_mean else []
    body = [
        [text_cell(name), *[_matrix_cell(name, task, found, heat) for task in tasks]]
        + ([_mean_cell(found, tasks)] if has_mean else [])
        for name, found in scores.items()
    ]
    metrics = ", ".join(f"{task} {names.tasks[task][0]['metric']}" for task in tasks)
    lead = (
        "Test scores of the config that the validation split chose, mean over seeds. Darker is "
        f"better within a column, bold is best. Metrics: {metrics}."
    )
    table = Table(caption="Test scores of the chosen configs", columns=columns, rows=body)
    return Section(key="matrix", title="Scores by task", lead=lead, blocks=[table])


def _noun(names: Names) -> str:
    return "model" if len(names.models) > 1 and len(names.methods) < 2 else "method"


def _heats(task: str, scores: Mapping[str, Mapping[str, Data]]) -> dict[str, float]:
    """Return how good each row is on a task, from 0 for the worst to 1 for the best."""
    means = {
        name: row["test"]["mean"] for name, found in scores.items() if (row := found.get(task))
    }
    mode = next(found[task]["mode"] for found in scores.values() if task in found)
    low, high = min(means.values()), max(means.values())
    if low == high:
        return dict.fromkeys(means, 0.5 if len(means) == 1 else 1.0)
    return {
        name: (high - mean if mode == "min" else mean - low) / (high - low)
        for name, mean in means.items()
    }


def _matrix_cell(
    name: str, task: str, found: Mapping[str, Data], heat: Mapping[str, Mapping[str, float]]
) -> Cell:
    if task not in found:
        return Cell(text="", sort="")
    test, strength = found[task]["test"], heat[task][name]
    spread = f" ± {number(test['std'])}" if test.get("std") is not None else ""
    return Cell(
        text=number(test["mean"]) + spread, sort=test["mean"], heat=strength, is_best=strength == 1
    )


def _mean_cell(found: Mapping[str, Data], tasks: Sequence[str]) -> Cell:
    if any(task not in found for task in tasks):
        return Cell(text="", sort="")
    return number_cell(sum(found[task]["test"]["mean"] for task in tasks) / len(tasks))


def contrasts(data: Data, names: Names) -> Section | None:
    """Return the pairwise differences between chosen configs and whether they are real."""
    pairs = data.get("contrasts") or []
    if not pairs:
        return None
    num_real = sum(bool(pair["is_real"]) for pair in pairs)
    columns = [
        Column(label="#", is_number=True),
        *([Column(label="task")] if len(names.tasks) > 1 else []),
        Column(label="A"), Column(label="B"),
        Column(label="A − B", is_number=True, title="difference on the test split, 95% interval"),
        Column(label="effect", is_number=True, title="Cohen's d of the paired differences"),
        Column(label="p, seeds", is_number=True), Column(label="p, examples", is_number=True),
        Column(label="p, adjusted", is_number=True, title="Holm, over all pairs"),
        Column(label="real"),
    ]  # fmt: skip
    rows = [
        [Cell(text=str(n), sort=n), *_contrast(pair, names)]
        for n, pair in enumerate(pairs, start=1)
    ]
    lead = (
        f"Of {plural(len(pairs), 'difference')} between chosen configs, {num_real or 'none'} "
        f"{'is' if num_real < 2 else 'are'} beyond chance at 5%: paired by seed and by test "
        "example, the larger of the two p-values, corrected for the number of pairs (Holm)."
    )
    if num_left_out := data.get("num_contrasts_left_out"):
        lead += f" {plural(num_left_out, 'further pair')} of lower rank were not compared."
    blocks: list[Block] = [_forest(pairs[:NUM_DOTS], len(pairs), names)]
    blocks.append(
        Table(
            caption="Paired differences on the test split",
            columns=columns,
            rows=rows,
            num_first=NUM_ROWS,
        )
    )
    return Section(key="contrasts", title="Which difference is real", lead=lead, blocks=blocks)


def _contrast(pair: Data, names: Names) -> list[Cell]:
    tests = [pair.get("p_seeds") or {}, pair.get("p_examples") or {}]
    cells = [
        text_cell(_side(pair, "a", names)),
        text_cell(_side(pair, "b", names)),
        number_cell(
            pair["difference"], f"{number(pair['difference'])} {interval(pair['ci'])}".strip()
        ),
        number_cell(pair["effect_size"], two_digits(pair["effect_size"])),
        *[
            Cell(text=format_p(test.get("p")), sort=test.get("p"), detail=test.get("test", ""))
            for test in tests
        ],
        number_cell(pair["p_adjusted"], format_p(pair["p_adjusted"])),
        Cell(text="yes" if pair["is_real"] else "no", is_best=bool(pair["is_real"])),
    ]
    return [text_cell(pair["task"]), *cells] if len(names.tasks) > 1 else cells


def _versus(pair: Data, names: Names) -> str:
    return f"{_side(pair, 'a', names)} − {_side(pair, 'b', names)}"


def _side(pair: Data, side: str, names: Names) -> str:
    config_id = pair[side]["config_id"]
    return names.pair(names.rows[config_id]) if config_id in names.rows else pair[side]["label"]


def _forest(pairs: Sequence[Data], num_pairs: int, names: Names) -> Figure:
    several = len(names.tasks) > 1
    labels = [(f"{p['task']}: " if several else "") + _versus(p, names) for p in pairs]
    series = [
        Dots(
            name=name,
            values=[p["difference"] if bool(p["is_real"]) is real else None for p in pairs],
            bounds=[p["ci"] for p in pairs],
            colour=colour, symbol=symbol,
        )
        for name, real, colour, symbol in (
            ("beyond chance", True, COLOURS[1], "circle"),
            ("may be chance", False, COLOURS[6], "circle-open"),
        )
    ]  # fmt: skip
    data, shared, height = interval_plot(
        labels, series, layout("difference on the test split", xaxis={"zeroline": True})
    )
    part = f"the first {len(pairs)} of {num_pairs}" if num_pairs > len(pairs) else "all"
    return Figure(
        title="Differences with 95% intervals", data=data, layout=shared, height=height,
        narrow={"yaxis.ticktext": [str(n) for n in range(1, len(pairs) + 1)]},
        alt=f"Differences between chosen configs with intervals, {part} pairs; the line at 0 means "
            "no difference. The table below has the numbers.",
    )  # fmt: skip
