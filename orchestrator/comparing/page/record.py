"""The sections that say what was done: shared work, failures, provenance; judge nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.comparing.page.blocks import (
    Block,
    Cell,
    Column,
    Facts,
    Section,
    Source,
    Table,
)
from orchestrator.comparing.page.values import (
    as_text,
    moment,
    number_cell,
    seconds,
    shortened,
    text_cell,
)
from orchestrator.comparing.wording import plural

Data = Mapping[str, Any]

DIGEST_LENGTH = 16
"""Digits of a digest that are shown, as of an id."""
UNITS = (
    ("wall_s", "wall time", seconds),
    ("compute_s", "compute of all stages", seconds),
    ("cpu_s", "CPU time", seconds),
    ("peak_memory_gib", "peak memory", lambda value: f"{value:.2f} GiB"),
    ("peak_gpu_memory_gib", "peak GPU memory", lambda value: f"{value:.2f} GiB"),
    ("energy_kwh", "energy (estimate)", lambda value: f"{value:.3g} kWh"),
    ("emissions_kg", "emissions (estimate)", lambda value: f"{value:.3g} kg CO₂e"),
    ("saved_s", "saved by sharing", seconds),
    ("num_saved", "stages not run twice", lambda value: f"{value:,}"),
    ("region", "region of the estimate", str),
)
"""Keys of the accounts, what they are called and how they are written."""


def sharing(data: Data) -> Section | None:
    """Return what the sweep used, what was shared and what that saved."""
    accounts, shared = data.get("accounts") or {}, data.get("shared") or []
    items = [
        (label, write(accounts[key]))
        for key, label, write in UNITS
        if accounts.get(key) is not None
    ]
    blocks: list[Block] = [Facts(items=items)] if items else []
    if shared:
        labels = ("members", "jobs", "saved")
        columns = [Column(label="stage"), Column(label="task")]
        columns += [Column(label=label, is_number=True) for label in labels]
        rows = [
            [
                text_cell(row["stage"]), text_cell(row["task"]),
                number_cell(row["num_members"], f"{row['num_members']:,}"),
                number_cell(row["num_jobs"], f"{row['num_jobs']:,}"),
                number_cell(row["saved_s"], seconds(row["saved_s"])),
            ]
            for row in shared
        ]  # fmt: skip
        blocks.append(
            Table(caption="Stages that served several trials", columns=columns, rows=rows)
        )
    if not blocks:
        return None
    lead = "What the sweep took, and what was computed once for several trials."
    return Section(key="sharing", title="What was shared and saved", lead=lead, blocks=blocks)


def failures(data: Data) -> Section | None:
    """Return the trials that failed or were stopped, by cause."""
    found = data.get("failures") or []
    if not found:
        return None
    columns = [
        Column(label="cause"), Column(label="message"),
        Column(label="trials", is_number=True), Column(label="such as"),
    ]  # fmt: skip
    rows = [
        [
            text_cell(row["cause"]), text_cell(row["message"]),
            Cell(text=f"{row['num_trials']:,}", sort=row["num_trials"]),
            text_cell(", ".join(row["trials"])),
        ]
        for row in found
    ]  # fmt: skip
    count = sum(row["num_trials"] for row in found)
    lead = (
        f"{plural(count, 'trial')} without a result. They count as missing seeds of their configs."
    )
    table = Table(caption="Failures by cause", columns=columns, rows=rows)
    return Section(key="failures", title="Failures", lead=lead, blocks=[table])


def provenance(data: Data) -> Section | None:
    """Return what one needs to run the sweep again: its file, versions, digests, machine."""
    found = data.get("provenance") or {}
    times = [
        (label, moment(found.get(key)))
        for key, label in (("started_at", "started (UTC)"), ("ended_at", "ended (UTC)"))
        if found.get(key)
    ]
    if found.get("num_runs"):
        times.append(("runs of the command", f"{found['num_runs']:,}"))
    blocks: list[Block] = [Facts(items=times)] if times else []
    for key in ("models", "tasks"):
        if found.get(key):
            blocks.append(_table(key.capitalize(), found[key]))
    for key in ("versions", "machine"):
        if found.get(key):
            blocks.append(_mapping(key.capitalize(), found[key]))
    if found.get("sweep_file"):
        blocks.append(Source(caption="Sweep file", text=found["sweep_file"]))
    if not blocks:
        return None
    lead = "What was run, on what and with what: enough to run it again."
    return Section(key="provenance", title="Provenance", lead=lead, blocks=blocks)


def _table(caption: str, rows: Sequence[Data]) -> Table:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = [
        Column(label=name.removeprefix("num_").replace("_", " "), is_number=_is_number(rows, name))
        for name in names
    ]
    body = [[_fact(_cut(name, row.get(name))) for name in names] for row in rows]
    return Table(caption=caption, columns=columns, rows=body)


def _cut(name: str, value: Any) -> Any:
    """Return a digest as short as ids are, anything else as it is."""
    return str(value)[:DIGEST_LENGTH] if name == "digest" and value else value


def _is_number(rows: Sequence[Data], name: str) -> bool:
    values = [row[name] for row in rows if row.get(name) is not None]
    return bool(values) and all(isinstance(value, int | float) for value in values)


def _mapping(caption: str, values: Data) -> Table:
    columns = [Column(label="name"), Column(label="value")]
    rows = [[text_cell(name), _fact(value)] for name, value in values.items()]
    return Table(caption=caption, columns=columns, rows=rows)


def _fact(value: Any) -> Cell:
    if value is None or value in ({}, []):
        return text_cell(None)
    if isinstance(value, Mapping):
        return Cell(text=shortened(", ".join(f"{name} {_short(v)}" for name, v in value.items())))
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return Cell(text=_short(value), sort=value if is_count else None)


def _short(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:,}" if is_number else shortened(as_text(value))
