"""The section about what drives the scores: importance of params, and all configs at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.comparing.page.blocks import Block, Figure, Figures, Section
from orchestrator.comparing.page.parallel import parallel_coordinates
from orchestrator.comparing.page.plots import colour, layout, plain
from orchestrator.comparing.page.values import Names

Data = Mapping[str, Any]


def effects(data: Data, names: Names) -> Section | None:
    """Return how hyperparameters bear on the score: shares of variance, and all configs at once."""
    several = len(names.tasks) > 1
    small = [
        _importance(task if several else "", method, shares)
        for task, methods in (data.get("effects") or {}).items()
        for method, shares in methods.items()
        if len(shares) > 1
    ]
    blocks: list[Block] = [Figures(figures=small)] if small else []
    for task, rows in names.tasks.items():
        parallel = parallel_coordinates(task if several else "", rows, names)
        blocks += [parallel] if parallel else []
    if not blocks:
        return None
    lead = (
        "The bars are the share of the variance of validation scores that a param explains by "
        "itself (functional analysis of variance, Hutter et al. 2014); interactions are what only "
        "params together explain, and noise. In parallel coordinates a line is a config."
    )
    return Section(key="effects", title="Hyperparameter effects", lead=lead, blocks=blocks)


def _importance(task: str, method: str, shares: Sequence[Data]) -> Figure:
    params = [plain(share["param"], 28) for share in shares]
    values = [share["importance"] for share in shares]
    bars = {
        "type": "bar", "orientation": "h", "x": values, "y": list(range(len(params))),
        "text": [f"{value:.0%}" for value in values], "textposition": "outside",
        "marker": {"color": [colour(6 if s["param"].startswith("(") else 0) for s in shares]},
        "cliponaxis": False, "hovertemplate": "%{x:.3f}<extra></extra>",
    }  # fmt: skip
    shared = layout(
        "share of variance",
        xaxis={"range": [0, 1.12], "tickformat": ".0%", "tickvals": [0, 0.25, 0.5, 0.75, 1]},
        yaxis={
            "tickvals": list(range(len(params))), "ticktext": params, "showgrid": False,
            "range": [len(params) - 0.4, -0.6],
        },
    )  # fmt: skip
    told = ", ".join(f"{s['param']} {s['importance']:.0%}" for s in shares)
    title = ", ".join(part for part in (task, method) if part) or "Importance"
    return Figure(
        title=title, data=[bars], layout=shared, height=70 + 30 * len(params),
        alt=f"{title}: shares of the variance of validation scores: {told}.",
    )  # fmt: skip
