"""Puts the comparison of a sweep into one HTML file that needs no network; computes no statistics.

What a sweep file, a model or a traceback says is not trusted. The template escapes all of it,
figures are data that no browser runs, and the page's security policy lets run only the two scripts
whose digests it names, and load nothing at all.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.comparing.curves import curves
from orchestrator.comparing.page import headline, influence, ranking, record, training, versus
from orchestrator.comparing.page.blocks import Figure, Section
from orchestrator.comparing.page.values import Names
from orchestrator.comparing.report import Report

FOLDER = Path(__file__).parent
NUM_PRINTED = 100
"""Rows of a table that are printed."""


def page(report: Report) -> str:
    """Return a report as the text of a self-contained HTML file, the same text each time.

    Args:
        report: The report; its results should have their curves, which are drawn.
    """
    data = report.to_json()
    names = Names(data)
    script, plotly = _text("page.js"), _plotly()
    html: str = _template().render(
        sweep=report.sweep,
        state=data["state"],
        finding=headline.finding(data, names),
        facts=headline.facts(data, names),
        sections=_sections(data, names, report),
        policy=_policy(plotly, script),
        style=Markup(_text("page.css")),  # noqa: S704 - our own file
        plotly=Markup(plotly),  # noqa: S704 - the library
        script=Markup(script),  # noqa: S704 - our own file
        num_printed=NUM_PRINTED,
    )
    return html.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate has no bytes


def _sections(data: dict[str, Any], names: Names, report: Report) -> list[Section]:
    """Return the sections in the order in which one asks; those without data are left out."""
    found = (
        ranking.leaderboard(data, names),
        ranking.overall(data, names),
        versus.matrix(data, names),
        versus.contrasts(data, names),
        training.learning_curves(data, names, curves(report.results)),
        influence.effects(data, names),
        training.sizes(data, names),
        training.budget(data, names),
        training.cost(data, names),
        record.sharing(data),
        record.failures(data),
        record.provenance(data),
    )
    return [section for section in found if section is not None]


def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inert_json"] = _inert_json
    return environment.get_template("page.html")


def _text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _plotly() -> str:
    """Return plotly.js with the line ends to which a browser turns those of any page."""
    from plotly.offline import get_plotlyjs  # noqa: PLC0415 - half a second to load

    text: str = get_plotlyjs()
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _policy(*scripts: str) -> str:
    """Return a policy that runs those scripts alone and loads nothing.

    Source: https://www.w3.org/TR/CSP3/. Styles are allowed, since plotly.js sets them; images are
    those that it makes to be saved.
    """
    digests = [hashlib.sha256(script.encode("utf-8")).digest() for script in scripts]
    sources = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {sources}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _inert_json(figure: Figure) -> Markup:
    """Return a figure as JSON that no HTML parser takes for anything else."""
    plain = {
        "data": _plain(figure.data),
        "layout": _plain({**figure.layout, "height": figure.height}),
        "narrow": _plain(figure.narrow),
    }
    text = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - escaped above


def _plain(value: Any) -> Any:
    """Return numbers with six digits, which no plot exceeds, and as null what is not finite."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
