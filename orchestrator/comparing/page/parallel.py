"""Parallel coordinates: a line a config, an axis a param, and the score last.

Drawn as plain lines: plotly's own trace of that name needs WebGL and runs code made from text,
which the page's security policy forbids, and it does not print.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.comparing.page.blocks import Figure
from orchestrator.comparing.page.plots import layout, plain
from orchestrator.comparing.page.values import Names, number, text_cell

Data = Mapping[str, Any]

MIN_CONFIGS = 8
MAX_LINES = 120
"""Configs that are drawn; of more, so many spread evenly over the ranks."""
MAX_AXES = 9
MAX_TICKS = 8
LOG_RATIO = 50.0
"""A ratio of the largest to the smallest value above which an axis is logarithmic."""
WORST, MIDDLE, BEST = (230, 159, 0), (150, 150, 150), (0, 114, 178)
"""Okabe and Ito's orange and blue with grey between: seen on white and on black, and told apart by
any colour vision."""


def parallel_coordinates(task: str, rows: Sequence[Data], names: Names) -> Figure | None:
    """Return the figure of one task, or None where too little varies to need it.

    Args:
        task: Its name, empty where there is one only.
        rows: The task's configs, best first.
        names: What they are called.
    """
    scored = [row for row in rows if row["scores"]["validation"]["mean"] is not None]
    axes = _axes(scored, names)
    if len(axes) < 2 or len(scored) < MIN_CONFIGS:
        return None
    last = len(scored) - 1
    count = min(MAX_LINES, len(scored))
    drawn = [scored[round(i * last / (count - 1))] for i in range(count)]
    scores = [row["scores"]["validation"]["mean"] for row in scored]
    low, high = min(scores), max(scores)
    places = [_places(values) for values in axes.values()]
    where = {row["config_id"]: index for index, row in enumerate(scored)}
    data = []
    for row in reversed(drawn):
        index, score = where[row["config_id"]], row["scores"]["validation"]["mean"]
        part = (score - low) / (high - low) if high > low else 1.0
        heights = [at[0][index] for at in places] + [part]
        goodness = 1 - part if row["mode"] == "min" else part
        data.append(_line(row, heights, goodness, names))
    ticks = [at[1] for at in places] + [[(0.0, number(low)), (1.0, number(high))]]
    part = f"{len(data)} of {len(scored)}" if len(scored) > len(data) else f"{len(scored)}"
    head = f"{task}: " if task else ""
    title = f"{head}{part} configs in parallel coordinates; blue is best, orange worst"
    return _figure(title, data, [*axes, rows[0]["metric"]], ticks)


def _axes(rows: Sequence[Data], names: Names) -> dict[str, list[Any]]:
    """Return the values of each config by what varies: model, method, params."""
    axes: dict[str, list[Any]] = {}
    for noun, known in (("model", names.models), ("method", names.methods)):
        if len(known) > 1:
            axes[noun] = [row[noun] for row in rows]
    for name in dict.fromkeys(name for row in rows for name in row["params"]):
        axes[name] = [row["params"].get(name) for row in rows]
    varying = {n: v for n, v in axes.items() if len({repr(value) for value in v}) > 1}
    return dict(list(varying.items())[:MAX_AXES])


def _places(values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Return the height of each value on its axis, 0 to 1, and the ticks with their texts."""
    levels = sorted(set(map(_key, values)))
    spread = {level: index / max(1, len(levels) - 1) for index, level in enumerate(levels)}
    texts = {_key(value): text_cell(value).text for value in values}
    numbers = [level[1] for level in levels]
    if all(level[0] == 0 for level in levels) and len(levels) > MAX_TICKS:
        spread = dict(zip(levels, _scaled(numbers), strict=True))
    every = -(-len(levels) // MAX_TICKS)
    ticks = [(spread[level], texts[level]) for level in levels[::every]]
    return [spread[_key(value)] for value in values], ticks


def _key(value: Any) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return (0, float(value), "")
    return (1, 0.0, text_cell(value).text)


def _scaled(numbers: Sequence[float]) -> list[float]:
    """Return ascending numbers from 0 to 1, by their logarithm where they span orders of size."""
    is_log = numbers[0] > 0 and numbers[-1] / numbers[0] > LOG_RATIO
    at = [math.log(n) for n in numbers] if is_log else list(numbers)
    return [(n - at[0]) / (at[-1] - at[0]) for n in at]


def _line(row: Data, heights: Sequence[float], goodness: float, names: Names) -> dict[str, Any]:
    label = plain(names.label(row["config_id"]), 120)
    text = f"#{row['rank']} {label}: {number(row['scores']['validation']['mean'])}"
    return {
        "type": "scatter", "mode": "lines", "x": list(range(len(heights))), "y": list(heights),
        "line": {"color": _shade(goodness), "width": 1 + 1.5 * goodness**3},
        "opacity": 0.45 + 0.5 * goodness, "name": text,
        "hovertemplate": "%{fullData.name}<extra></extra>",
    }  # fmt: skip


def _shade(part: float) -> str:
    """Return a colour of the scale, from 0 for the worst to 1 for the best."""
    start, end = (WORST, MIDDLE) if part < 0.5 else (MIDDLE, BEST)
    at = part * 2 % 1 if part < 1 else 1
    return "rgb({},{},{})".format(
        *(round(a + (b - a) * at) for a, b in zip(start, end, strict=True))
    )


def _figure(
    title: str, data: Sequence[Data], titles: Sequence[str], ticks: Sequence[Any]
) -> Figure:
    shown = [plain(title, 22) for title in titles]
    marks = [
        {
            "x": axis, "y": height, "text": plain(text, 14), "showarrow": False, "xanchor": "left",
            "xshift": 4, "font": {"size": 10}, "yshift": 7,
        }
        for axis, values in enumerate(ticks)
        for height, text in values
    ]  # fmt: skip
    rules = [
        {"type": "line", "x0": axis, "x1": axis, "y0": 0, "y1": 1, "layer": "below",
         "line": {"color": "rgba(127,127,127,0.7)", "width": 1}}
        for axis in range(len(titles))
    ]  # fmt: skip
    shared = layout(
        xaxis={
            "tickvals": list(range(len(titles))), "ticktext": shown, "side": "top",
            "showgrid": False, "range": [-0.1, len(titles) - 0.6], "fixedrange": True,
        },
        yaxis={"visible": False, "range": [-0.04, 1.1], "fixedrange": True},
        annotations=marks, shapes=rules,
    )  # fmt: skip
    return Figure(
        title=title,
        data=data, layout=shared, height=340,
        alt=f"{len(data)} configs are lines through {', '.join(titles[:-1])} to validation "
            f"{titles[-1]}.",
    )  # fmt: skip
