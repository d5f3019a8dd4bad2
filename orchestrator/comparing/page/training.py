"""The sections about how configs learn and what drives their scores; computes no statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.comparing.curves import Curves
from orchestrator.comparing.page.blocks import Block, Figure, Figures, Heading, Section
from orchestrator.comparing.page.plots import Line, colour, layout, legend_below, line_traces, plain
from orchestrator.comparing.page.values import (
    Names,
)
from orchestrator.comparing.wording import plural

Data = Mapping[str, Any]

MAX_LINES = 12
"""Configs of a plot of learning curves."""
NUM_SHOWN = 6
"""Of these, how many show before one asks for more."""
MIN_SEEDS_OF_BAND = 3
MAX_POINTS = 60
"""Points of one learning curve."""
MAX_METRICS = 4
"""Metrics of which a task's learning curves are drawn."""
SMALL = 240
"""Pixels of the plots that stand side by side."""


def learning_curves(data: Data, names: Names, curves: Curves) -> Section | None:
    """Return the learning curves of each task: of chosen configs, of others on request."""
    chosen = {row["config_id"] for row in data.get("chosen") or []}
    blocks: list[Block] = []
    for task, rows in names.tasks.items():
        learnt = [row["config_id"] for row in rows if row["config_id"] in curves]
        ids = sorted(learnt, key=lambda config_id: config_id not in chosen)[:MAX_LINES]
        if not ids:
            continue
        if len(names.tasks) > 1:
            blocks.append(Heading(text=task))
        metrics = list(dict.fromkeys(name for i in ids for name in curves[i]))[:MAX_METRICS]
        num_shown = min(NUM_SHOWN, sum(i in chosen for i in ids) or 1)
        figures = [_curves(name, ids, num_shown, names, curves) for name in metrics]
        blocks.append(Figures(figures=figures))
    if not blocks:
        return None
    lead = (
        "Mean over seeds with 95% bands; where seeds stopped early, over those that went on. The "
        "chosen configs show at first; a click on a name in the legend shows or hides it (at most "
        f"{MAX_LINES} a task)."
    )
    return Section(key="curves", title="Learning curves", lead=lead, blocks=blocks)


def _bound(point: Data, name: str) -> float | None:
    """Return an end of the band; of two seeds it would be as wide as the plot."""
    return point[name] if point["n"] >= MIN_SEEDS_OF_BAND else None


def _curves(
    metric: str, ids: Sequence[str], num_shown: int, names: Names, curves: Curves
) -> Figure:
    lines = []
    for index, config_id in enumerate(ids):
        points = curves[config_id].get(metric, [])
        points = points[:: max(1, -(-len(points) // MAX_POINTS))] + points[-1:]
        lines.append(
            Line(
                name=names.label(config_id), index=index, is_shown=index < num_shown,
                x=[p["step"] for p in points], y=[p["mean"] for p in points],
                low=[_bound(p, "low") for p in points], high=[_bound(p, "high") for p in points],
            )
        )  # fmt: skip
    title = metric.replace("_", " ")
    return _lines_figure(title, lines, ("step", title), f"Learning curves, {title} by step.")


def _lines_figure(
    title: str, lines: Sequence[Line], axes: tuple[str, str], alt: str, **more: Any
) -> Figure:
    """Return lines with a legend below them."""
    shared = layout(*axes, **more)
    shared["yaxis"]["range"] = _span(
        [y for line in lines if line.is_shown for y in line.y if y is not None]
    )
    return Figure(
        title=title, data=line_traces(lines), layout=shared,
        height=legend_below(shared, len(lines), SMALL),
        alt=f"{alt} Lines: {', '.join(line.name for line in lines if line.is_shown)}.",
    )  # fmt: skip


def _span(values: Sequence[float]) -> list[float] | None:
    """Return a range with room for bands: that of two seeds may be a hundred times the line."""
    if not values:
        return None
    low, high = min(values), max(values)
    room = 0.15 * (high - low) or 0.1 * abs(high) or 1.0
    return [low - room, high + room]


def sizes(data: Data, names: Names) -> Section | None:
    """Return the scores of configs by the size of their training data."""
    figures = []
    for task, found in (data.get("sizes") or {}).items():
        lines = [_size_line(index, line) for index, line in enumerate(found[:MAX_LINES])]
        if lines:
            metric = names.tasks[task][0]["metric"]
            axis = {"type": "log", "tickvals": sorted({x for line in lines for x in line.x})}
            figures.append(
                _lines_figure(
                    task or metric, lines, ("training examples", f"test {metric}"),
                    f"Test {metric} by the number of training examples.", xaxis=axis,
                )
            )  # fmt: skip
    lead = "Test score by the number of training examples, mean over seeds with 95% bands."
    return _small(figures, "sizes", "Data size", lead)


def _size_line(index: int, line: Data) -> Line:
    points = sorted(line["points"], key=lambda point: point["train_size"])
    bounds = [point.get("ci") or (None, None) for point in points]
    return Line(
        name=line["label"] or "all", index=index, is_shown=index < NUM_SHOWN,
        x=[p["train_size"] for p in points], y=[p["mean"] for p in points],
        low=[b[0] for b in bounds], high=[b[1] for b in bounds],
    )  # fmt: skip


def budget(data: Data, names: Names) -> Section | None:
    """Return what searching longer is expected to give, by method."""
    figures = []
    for task, methods in (data.get("budget") or {}).items():
        lines = [_budget_line(names, method, points) for method, points in methods.items()]
        lines = [line for line in lines if len(line.x) > 1]
        if lines:
            metric = names.tasks[task][0]["metric"]
            figures.append(
                _lines_figure(
                    task or metric, lines, ("configs tried", f"expected {metric}"),
                    f"Expected {metric} of the config chosen among so many.",
                )
            )  # fmt: skip
    lead = (
        "The test score to be expected of the config that the validation split chooses among so "
        "many drawn at random (Dodge et al. 2019): methods compare at equal budget."
    )
    return _small(figures, "budget", "Score against budget", lead)


def _budget_line(names: Names, method: str, points: Sequence[Data]) -> Line:
    index = names.methods.index(method) if method in names.methods else 0
    values = [p["validation"] if p.get("test") is None else p["test"] for p in points]
    step = max(1, -(-len(points) // MAX_POINTS))
    kept = sorted({*range(0, len(points), step), len(points) - 1}) if points else []
    return Line(
        name=method or "all configs", index=index,
        x=[points[i]["num_configs"] for i in kept], y=[values[i] for i in kept],
    )  # fmt: skip


def cost(data: Data, names: Names) -> Section | None:
    """Return what the configs cost against what they score."""
    seconds: dict[str, list[float]] = {}
    for trial in data["trials"]:
        if trial["state"] == "FINISHED" and trial["duration_s"] > 0:
            seconds.setdefault(trial["config_id"], []).append(trial["duration_s"])
    figures = []
    for task, rows in names.tasks.items():
        known = [
            row for row in rows
            if row["config_id"] in seconds and row["scores"]["test"]["mean"] is not None
        ]  # fmt: skip
        if len(known) > 1:
            figures.append(_cost(task, known, seconds, names))
    lead = (
        "Seconds of a trial's own stages (mean over seeds, without what it shares with others) "
        f"against its test score, for {plural(len(names.rows), 'config')}. The line joins those "
        "that no other beats in both."
    )
    return _small(figures, "cost", "Cost against score", lead)


def _cost(
    task: str, rows: Sequence[Data], seconds: Mapping[str, Sequence[float]], names: Names
) -> Figure:
    points = [
        (sum(s) / len(s), row["scores"]["test"]["mean"], row)
        for row in rows
        if (s := seconds[row["config_id"]])
    ]
    series: dict[str, list[Any]] = {}
    for point in points:
        series.setdefault(point[2]["method"], []).append(point)
    metric, mode = rows[0]["metric"], rows[0]["mode"]
    spent = [x for x, _, _ in points]
    scale = "log" if max(spent) > 5 * min(spent) else "linear"
    axis = {"type": scale, "tickformat": "~g", "nticks": 6, "rangemode": "tozero"}
    shared = layout("seconds a trial", f"test {metric}", xaxis=axis)
    front = _front([(x, y) for x, y, _ in points], mode)
    line = {
        "type": "scatter", "mode": "lines", "x": [x for x, _ in front], "y": [y for _, y in front],
        "line": {"color": colour(6), "width": 1, "dash": "dot"}, "hoverinfo": "skip",
        "showlegend": False,
    }  # fmt: skip
    dots = [_cloud(method, found, names) for method, found in series.items()]
    return Figure(
        title=task or metric, data=[line, *dots], layout=shared,
        height=legend_below(shared, len(series), SMALL),
        alt=f"Test {metric} against seconds a trial, {plural(len(points), 'config')}.",
    )  # fmt: skip


def _cloud(method: str, points: Sequence[Any], names: Names) -> dict[str, Any]:
    index = names.methods.index(method)
    return {
        "type": "scatter", "mode": "markers", "name": plain(method) or "configs",
        "x": [x for x, _, _ in points], "y": [y for _, y, _ in points],
        "text": [plain(names.label(row["config_id"]), 120) for _, _, row in points],
        "marker": {"color": colour(index), "size": 7, "opacity": 0.75},
        "hovertemplate": "%{text}<br>%{x:.3g} s, %{y:.4f}<extra></extra>",
    }  # fmt: skip


def _front(points: Sequence[tuple[float, float]], mode: str) -> list[tuple[float, float]]:
    """Return the points that no other is both cheaper and better than, the cheapest first."""
    front: list[tuple[float, float]] = []
    sign = -1 if mode == "min" else 1
    for x, y in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not front or sign * y > sign * front[-1][1]:
            front.append((x, y))
    return front


def _small(figures: Sequence[Figure], key: str, title: str, lead: str) -> Section | None:
    if not figures:
        return None
    return Section(key=key, title=title, lead=lead, blocks=[Figures(figures=figures)])
