"""What a page is made of: sections of texts, tables and figures; knows neither HTML nor statistics.

The template alone turns these into HTML, so escaping is in one place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of a table."""

    text: str
    sort: float | str | None = None
    """By what its column is sorted; the text where None."""
    note: str = ""
    """A mark behind the text, such as `†`."""
    detail: str = ""
    """A second line in small type."""
    heat: float | None = None
    """How strongly it is coloured, 0 to 1; None for not at all."""
    is_best: bool = False
    """Whether it stands out."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table."""

    label: str
    is_number: bool = False
    """Whether it is set to the right and sorted by size."""
    title: str = ""
    """What it means, for who points at it."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; the first column names the row."""

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    num_first: int = 100
    """Rows that show before one asks for all."""
    kind = "table"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A plot in the terms of plotly.js: https://plotly.com/javascript/reference/."""

    title: str
    data: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]
    alt: str
    """What the plot shows, for who does not see it."""
    height: int = 320
    """Pixels."""
    narrow: Mapping[str, Any] = field(default_factory=dict)
    """What is otherwise on a narrow screen: values of the layout by path, as `yaxis.title`."""
    kind = "figure"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Small figures side by side, where the screen is wide enough."""

    figures: Sequence[Figure]
    kind = "figures"


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A heading within a section."""

    text: str
    kind = "heading"


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph."""

    text: str
    kind = "text"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Short facts with their names, side by side."""

    items: Sequence[tuple[str, str]]
    kind = "facts"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Text as it stands in a file."""

    caption: str
    text: str
    kind = "source"


Block = Table | Figure | Figures | Heading | Text | Facts | Source


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section of the page, as its table of contents lists them."""

    key: str
    title: str
    lead: str
    """What it shows and how to read it, in a sentence or two."""
    blocks: Sequence[Block]
