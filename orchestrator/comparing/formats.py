"""Tables as CSV, Markdown and LaTeX; decides neither rows nor marks."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.comparing.paper import Cell, PaperTable

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "±": r"$\pm$", "†": r"$^\dagger$", "–": "--", "\n": " ",
}  # fmt: skip
"""Characters that mean something else in LaTeX, by https://ctan.org/pkg/comprehensive."""

_MARKDOWN = {character: f"\\{character}" for character in "\\`*[<|"} | {"\n": " "}


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows with the same keys as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def markdown_table(table: PaperTable) -> str:
    """Return a table in GitHub's Markdown, its caption below it."""
    marks = ["---" if n < table.num_left else "--:" for n in range(len(table.head))]
    lines = [_markdown_row(map(_in_markdown, table.head)), _markdown_row(marks)]
    lines += [_markdown_row(map(_markdown_cell, row)) for row in table.rows]
    return "\n".join([*lines, "", _in_markdown(table.caption), ""])


def latex_table(table: PaperTable) -> str:
    r"""Return a table for `\usepackage{booktabs}`, text encoded by `\usepackage[T1]{fontenc}`."""
    columns = "l" * table.num_left + "r" * (len(table.head) - table.num_left)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{in_latex(table.caption)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            _latex_row(map(in_latex, table.head)),
            r"\midrule",
            *(_latex_row(map(_latex_cell, row)) for row in table.rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def in_latex(text: str) -> str:
    """Return text such that LaTeX prints it as it stands."""
    return "".join(_LATEX.get(character, character) for character in text)


def _latex_cell(cell: Cell) -> str:
    text = in_latex(cell.text) + (_LATEX["†"] if cell.is_tied else "")
    return rf"\textbf{{{text}}}" if cell.is_best else text


def _latex_row(cells: Any) -> str:
    return " & ".join(cells) + r" \\"


def _in_markdown(text: str) -> str:
    return "".join(_MARKDOWN.get(character, character) for character in text)


def _markdown_cell(cell: Cell) -> str:
    text = _in_markdown(cell.text) + ("†" if cell.is_tied else "")
    return f"**{text}**" if cell.is_best else text


def _markdown_row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"
