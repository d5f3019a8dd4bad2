"""Figures in the terms of plotly.js, from plain numbers; knows no section and no statistics.

A figure is a mapping that plotly.js takes as it is: building it needs nothing of plotly's, and
takes no time. Colours are those of Okabe and Ito, which people with any colour vision tell apart
(https://jfly.uni-koeln.de/color/), without the two that vanish on white or black.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.comparing.page.values import number, shortened

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
DASHES = ("solid", "dash", "dot", "dashdot")
LABEL_LENGTH = 52
"""Characters of a name in a figure."""
LEGEND_LENGTH = 42
"""Characters of a name in the legend of a small figure."""
ROW_HEIGHT = 22
"""Pixels of one row of a plot of intervals."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a plot."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    is_shown: bool = True
    """Whether it is there before one asks for it in the legend."""
    index: int = 0
    """By which its colour and dash are chosen."""


@dataclass(frozen=True, kw_only=True)
class Dots:
    """One series of a plot of intervals: a value and an interval a row."""

    name: str
    values: Sequence[float | None]
    bounds: Sequence[Sequence[float] | None]
    colour: str
    symbol: str = "circle"
    shift: float = 0.0
    """By how much of a row it stands below the middle."""


def plain(text: str, length: int = LABEL_LENGTH) -> str:
    """Return a name as plotly.js shows it: shortened, its pseudo-HTML made inert."""
    return html.escape(shortened(text, length), quote=False)


def colour(index: int) -> str:
    """Return a colour by its place; they come again after the last."""
    return COLOURS[index % len(COLOURS)]


def layout(x_title: str = "", y_title: str = "", **more: Any) -> dict[str, Any]:
    """Return the layout that all figures share.

    Args:
        x_title: What the horizontal axis shows.
        y_title: What the vertical axis shows.
        more: Keys of the layout; mappings are laid over those that are there.
    """
    base: dict[str, Any] = {
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12},
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "namelength": -1},
        "showlegend": False,
        "xaxis": {"title": {"text": plain(x_title)}, "automargin": True, "zeroline": False},
        "yaxis": {"title": {"text": plain(y_title)}, "automargin": True, "zeroline": False},
    }
    for key, value in more.items():
        is_mapping = isinstance(value, Mapping) and key in base
        base[key] = {**base[key], **value} if is_mapping else value
    return base


def legend_below(shared: dict[str, Any], num_entries: int, height: int) -> int:
    """Put a legend below a plot of that height, and return the height of both in pixels."""
    above = 60  # the axis with its title
    shared["showlegend"] = num_entries > 1
    shared["legend"] = {
        "orientation": "v", "x": 0, "xanchor": "left", "y": -above / height, "yanchor": "top",
        "tracegroupgap": 0, "font": {"size": 11},
    }  # fmt: skip
    return height + above + (19 * num_entries if num_entries > 1 else -10)


def interval_plot(labels: Sequence[str], series: Sequence[Dots], layout: dict[str, Any]) -> Any:
    """Return the data, layout and height of dots with intervals, one row a label, from the top.

    Args:
        labels: The name of each row.
        series: What stands in each row.
        layout: The layout, which is filled.
    """
    rows = list(range(len(labels)))
    data = [_dots(each, labels, rows) for each in series if any(v is not None for v in each.values)]
    layout["yaxis"] |= {
        "tickvals": rows, "ticktext": [plain(label) for label in labels], "ticks": "",
        "range": [len(labels) - 0.5, -0.5], "showgrid": False,
    }  # fmt: skip
    height = 80 + ROW_HEIGHT * max(2, len(labels))
    if len(data) > 1:
        layout["showlegend"] = True
        layout["legend"] = {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}
        layout["margin"] = {**layout["margin"], "t": 28}
        height += 20
    return data, layout, height


def _dots(series: Dots, labels: Sequence[str], rows: Sequence[int]) -> dict[str, Any]:
    pairs = list(zip(series.values, series.bounds, strict=True))
    above = [b[1] - v if b and v is not None else 0 for v, b in pairs]
    below = [v - b[0] if b and v is not None else 0 for v, b in pairs]
    ends = [f"[{number(b[0])}, {number(b[1])}]" if b else "" for _, b in pairs]
    return {
        "type": "scatter", "mode": "markers", "name": series.name,
        "x": list(series.values), "y": [row + series.shift for row in rows],
        "marker": {"color": series.colour, "symbol": series.symbol, "size": 8},
        "error_x": {"type": "data", "array": above, "arrayminus": below, "symmetric": False,
                    "color": series.colour, "thickness": 1.6, "width": 0},
        "customdata": [[plain(text, 200), end] for text, end in zip(labels, ends, strict=True)],
        "hovertemplate": "%{customdata[0]}<br>" + series.name + " %{x:.4f} %{customdata[1]}"
                         "<extra></extra>",
    }  # fmt: skip


def line_traces(lines: Sequence[Line], axes: str = "", *, in_legend: bool = True) -> list[Any]:
    """Return lines, each with its band where it has one; the two are toggled together.

    Args:
        lines: The lines.
        axes: The number of the pair of axes, empty for the first.
        in_legend: Whether the legend lists them.
    """
    traces = []
    for line in lines:
        shade, name = colour(line.index), plain(line.name, LEGEND_LENGTH)
        common = {
            "type": "scatter", "legendgroup": str(line.index), "name": name,
            "xaxis": f"x{axes}", "yaxis": f"y{axes}",
            "visible": True if line.is_shown else "legendonly",
        }  # fmt: skip
        band = [i for i, b in enumerate(line.low) if b is not None and line.high[i] is not None]
        if band:
            traces.append(common | {
                "x": [line.x[i] for i in band] + [line.x[i] for i in reversed(band)],
                "y": [line.high[i] for i in band] + [line.low[i] for i in reversed(band)],
                "mode": "lines", "fill": "toself", "fillcolor": _faint(shade), "line": {"width": 0},
                "hoverinfo": "skip", "showlegend": False,
            })  # fmt: skip
        traces.append(common | {
            "x": list(line.x), "y": list(line.y),
            "mode": "lines+markers" if len(line.x) < 30 else "lines", "marker": {"size": 4},
            "line": {"color": shade, "width": 2,
                     "dash": DASHES[line.index // len(COLOURS) % len(DASHES)]},
            "showlegend": in_legend,
            "hovertemplate": "%{fullData.name}<br>%{x}: %{y:.4f}<extra></extra>",
        })  # fmt: skip
    return traces


def _faint(shade: str) -> str:
    red, green, blue = (int(shade[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.16)"
