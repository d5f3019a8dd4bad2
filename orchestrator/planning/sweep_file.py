"""Reads YAML into plain data and remembers the line of every key; knows no sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from orchestrator.errors import Fault, InvalidSweepError

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class SweepFile:
    """The content of a sweep file, or of a dict that stands for one.

    YAML is read by version 1.2: `1e-5` is a number and `no` is a word.
    """

    data: Any
    path: Path | None = None
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    text: str = ""
    """The file as it was written; empty where there was none."""

    @classmethod
    def read(cls, path: Path) -> SweepFile:
        """Read a file.

        Raises:
            InvalidSweepError: The file is not there, not text, or not YAML; the line is told.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise InvalidSweepError([Fault(message=f"cannot be read: {why}")], str(path)) from error
        try:
            tree = YAML(typ="rt", pure=True).load(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            fault = Fault(
                message=f"not YAML: {error.problem or error.context}",
                line=mark.line + 1 if mark else None,
            )
            raise InvalidSweepError([fault], str(path)) from error
        except YAMLError as error:
            raise InvalidSweepError([Fault(message=f"not YAML: {error}")], str(path)) from error
        except RecursionError as error:
            raise InvalidSweepError([Fault(message="nested too deep")], str(path)) from error
        lines: dict[KeyPath, int] = {}
        return cls(_plain(tree, (), lines), path, lines, text)

    @property
    def folder(self) -> Path:
        """The folder against which relative paths in the file are resolved."""
        return self.path.resolve().parent if self.path else Path.cwd()

    def fault(self, message: str, keys: KeyPath, *, nearest: str = "") -> Fault:
        """Return a fault at a key path, or at the nearest enclosing key that has a line."""
        known = next((keys[:n] for n in range(len(keys), 0, -1) if keys[:n] in self.lines), ())
        return Fault(
            message=message,
            key=_dotted(keys),
            line=self.lines.get(known),
            nearest=nearest,
        )


def _dotted(keys: KeyPath) -> str:
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def _plain(tree: Any, keys: KeyPath, lines: dict[KeyPath, int]) -> Any:
    """Turn ruamel's tree into dicts, lists and scalars; note the line of each key and item."""
    if isinstance(tree, CommentedMap):
        for key in tree:
            if key in tree.lc.data:  # a key that came through a merge has no line of its own
                lines[(*keys, str(key))] = tree.lc.data[key][0] + 1
        return {str(key): _plain(value, (*keys, str(key)), lines) for key, value in tree.items()}
    if isinstance(tree, CommentedSeq):
        for index in range(len(tree)):
            lines[(*keys, index)] = tree.lc.data[index][0] + 1
        return [_plain(value, (*keys, index), lines) for index, value in enumerate(tree)]
    return _plain_scalar(tree)


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def is_sequence(value: Any) -> bool:
    """Return whether a value is a list in the sense of YAML."""
    return isinstance(value, Sequence) and not isinstance(value, str)
