"""The sections that say which config, model or method is better; computes no statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.comparing.page.blocks import (
    Block,
    Cell,
    Column,
    Figure,
    Heading,
    Section,
    Table,
)
from orchestrator.comparing.page.plots import COLOURS, Dots, interval_plot, layout
from orchestrator.comparing.page.values import (
    Names,
    interval,
    number,
    number_cell,
    text_cell,
    two_digits,
)
from orchestrator.comparing.wording import NOTHING

Data = Mapping[str, Any]

NUM_DOTS = 30
"""Configs of a plot of intervals."""
NUM_ROWS = 12
"""Rows of a leaderboard that show before one asks for more."""
MAX_COLUMNS = 8
"""Params that have columns of their own; more stand in one."""
TIED = "†"


def leaderboard(data: Data, names: Names) -> Section | None:
    """Return the configs of each task, best first by the validation split."""
    blocks: list[Block] = []
    for task, rows in names.tasks.items():
        if len(names.tasks) > 1:
            blocks.append(Heading(text=task))
        scored = [row for row in rows if row["scores"]["validation"]["mean"] is not None]
        if len(scored) > 1:
            blocks.append(_dots(task, scored[:NUM_DOTS], len(rows), names))
        blocks.append(_table(task, rows, names))
    if not blocks:
        return None
    lead = (
        "Configs by their mean over seeds on the validation split, which alone ranks and chooses. "
        "Brackets are 95% confidence intervals of the mean over seeds (Student's t)."
    )
    if any(row.get("is_tied") for row in names.rows.values()):
        lead += f" {TIED} marks configs that cannot be told apart from the best one."
    return Section(key="leaderboard", title="Leaderboard", lead=lead, blocks=blocks)


def _dots(task: str, rows: Sequence[Data], num_rows: int, names: Names) -> Figure:
    labels = [names.label(row["config_id"]) for row in rows]
    series = [
        Dots(
            name=split,
            values=[row["scores"][split]["mean"] for row in rows],
            bounds=[row["scores"][split].get("ci") for row in rows],
            colour=colour, symbol=symbol, shift=shift,
        )
        for split, colour, symbol, shift in (
            ("validation", COLOURS[6], "circle-open", -0.14), ("test", COLOURS[0], "circle", 0.14),
        )
    ]  # fmt: skip
    metric = rows[0]["metric"]
    data, shared, height = interval_plot(labels, series, layout(metric))
    ticks = [str(row["rank"]) for row in rows]
    part = f"the best {len(rows)} of {num_rows} configs" if num_rows > len(rows) else "all configs"
    return Figure(
        title=f"{metric} of {part}",
        data=data, layout=shared, height=height, narrow={"yaxis.ticktext": ticks},
        alt=f"{metric} on {task or 'the task'} with intervals, for {part}, best first: "
            f"{labels[0]} has {number(rows[0]['scores']['validation']['mean'])} on validation. "
            "The table below has the numbers.",
    )  # fmt: skip


def _table(task: str, rows: Sequence[Data], names: Names) -> Table:
    params = list(dict.fromkeys(name for row in rows for name in row["params"]))
    is_wide = len(params) > MAX_COLUMNS
    heads = [noun for noun in ("model", "method") if len(getattr(names, f"{noun}s")) > 1]
    columns = [Column(label="#", is_number=True)]
    columns += [Column(label=noun) for noun in heads]
    columns += [Column(label="params")] if is_wide else [_param(name, rows) for name in params]
    columns += [
        Column(label="validation", is_number=True, title="mean over seeds, 95% interval"),
        Column(label="test", is_number=True, title="mean over seeds, 95% interval"),
        Column(label="seeds", is_number=True, title="seeds with a result"),
        Column(label="failed", is_number=True, title="seeds without one"),
    ]
    body = []
    for row in rows:
        own = [text_cell(_joined(row))] if is_wide else [_value(row, name) for name in params]
        body.append(
            [_rank(row), *[text_cell(row[noun]) for noun in heads], *own, *_scores(row)]
        )  # fmt: skip
    caption = f"Configs on {task}, {rows[0]['metric']}" if task else f"Configs, {rows[0]['metric']}"
    return Table(caption=caption, columns=columns, rows=body, num_first=NUM_ROWS)


def _param(name: str, rows: Sequence[Data]) -> Column:
    values = [row["params"][name] for row in rows if name in row["params"]]
    is_number = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return Column(label=name, is_number=is_number)


def _joined(row: Data) -> str:
    return " ".join(f"{name}={text_cell(value).text}" for name, value in row["params"].items())


def _value(row: Data, name: str) -> Cell:
    return text_cell(row["params"][name]) if name in row["params"] else Cell(text="", sort="")


def _rank(row: Data) -> Cell:
    note = TIED if row.get("is_tied") and row["rank"] > 1 else ""
    return Cell(text=str(row["rank"]), sort=row["rank"], note=note, is_best=row["rank"] == 1)


def _scores(row: Data) -> list[Cell]:
    cells = [
        Cell(
            text=f"{number(s['mean'])} {interval(s.get('ci'))}".strip(),
            sort=s["mean"],
            is_best=row["rank"] == 1,
        )
        for s in (row["scores"]["validation"], row["scores"]["test"])
    ]
    num_failed = row["num_failed"]
    return [
        *cells,
        Cell(text=str(row["scores"]["validation"]["n"]), sort=row["scores"]["validation"]["n"]),
        Cell(text=str(num_failed), sort=num_failed, note="!" if num_failed else ""),
    ]


def overall(data: Data, names: Names) -> Section | None:
    """Return how configs, methods and models compare over all tasks."""
    blocks: list[Block] = []
    summary = data.get("summary") or {}
    for noun in ("methods", "models"):
        rows = summary.get(noun) or []
        if len(rows) > 1:
            blocks += [_summary(noun, rows)]
    rows = data["leaderboard"]["overall"]
    if len(rows) > 1 and len(names.tasks) > 1:
        blocks.append(_overall_configs(rows, names))
    if not blocks:
        return None
    lead = (
        "Methods and models by the test scores of their chosen configs; configs by their mean "
        "over tasks. IQM is the inter-quartile mean over all runs and tasks; the mean rank is 1 "
        "for who is best everywhere; the win rate is the part of rivals beaten. Both count "
        "tasks that all have a score on."
    )
    return Section(key="overall", title="Over all tasks", lead=lead, blocks=blocks)


def _summary(noun: str, rows: Sequence[Data]) -> Table:
    columns = [
        Column(label=noun[:-1]),
        *[
            Column(label=c, is_number=True)
            for c in ("tasks", "mean", "IQM", "mean rank", "win rate")
        ],
    ]
    body = [
        [
            text_cell(row["name"]),
            number_cell(row["num_tasks"], str(row["num_tasks"])),
            number_cell(row.get("mean")),
            number_cell(
                row.get("iqm"), f"{number(row.get('iqm'))} {interval(row.get('ci'))}".strip()
            ),
            number_cell(row.get("mean_rank"), two_digits(row.get("mean_rank"))),
            number_cell(row.get("win_rate"), _percent(row.get("win_rate"))),
        ]
        for row in rows
    ]
    return Table(caption=f"{noun.capitalize()}, test split", columns=columns, rows=body)


def _percent(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.0%}"


def _overall_configs(rows: Sequence[Data], names: Names) -> Table:
    heads = [noun for noun in ("model", "method") if len(getattr(names, f"{noun}s")) > 1]
    labels = ("tasks", "validation", "test", "IQM (test)", "mean rank", "win rate")
    columns = [Column(label="#", is_number=True), *[Column(label=noun) for noun in heads]]
    columns += [Column(label="params"), *[Column(label=c, is_number=True) for c in labels]]
    body = []
    for row in rows:
        iqm = (row.get("iqm") or {}).get("test") or {}
        body.append([
            _overall_rank(row),
            *[text_cell(row[noun]) for noun in heads],
            text_cell(_joined(row)),
            number_cell(row["num_tasks"], str(row["num_tasks"])),
            number_cell(row["scores"]["validation"]),
            number_cell(row["scores"]["test"]),
            number_cell(iqm.get("value"), f"{number(iqm.get('value'))} {interval(iqm.get('ci'))}"),
            number_cell(row.get("mean_rank"), two_digits(row.get("mean_rank"))),
            number_cell(row.get("win_rate"), _percent(row.get("win_rate"))),
        ])  # fmt: skip
    return Table(caption="Configs over all tasks", columns=columns, rows=body, num_first=NUM_ROWS)


def _overall_rank(row: Data) -> Cell:
    """Return the rank; a mean over fewer tasks than others have does not compare."""
    if not row["is_complete"]:
        return Cell(text="", sort=row["rank"])
    return Cell(text=str(row["rank"]), sort=row["rank"], is_best=row["rank"] == 1)
