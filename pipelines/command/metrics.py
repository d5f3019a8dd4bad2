"""From what a script reports to `split/metric`: a JSON file, JSON lines; runs nothing."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.contract import MAX_STEP, DivergedError, InputError

_SPLIT = re.compile(r"(validation|valid|val|eval|dev|test|predict|train)[_/](.+)")
_SPLITS = {"test": "test", "predict": "test", "train": "train"}
"""What is not a word for the validation split."""

MAX_LISTED_FILES = 10

_TOO_DEEP = "is nested too deep to be read"


@dataclass
class Reported:
    """The numbers of one trial under the script's own names."""

    final: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, Any]] = field(default_factory=list)
    """Points `{"step": int, name: number, ...}`."""

    def take_line(self, line: str) -> None:
        """Take the numbers of a line that is a JSON object; the last value of a name wins."""
        if not line.lstrip().startswith("{"):
            return
        with contextlib.suppress(ValueError):
            content = _json_object(line)
            step = content.pop("step", None)
            numbers = _numbers(content)
            self.final |= {name: value for name, value in numbers.items() if name != "epoch"}
            if numbers and isinstance(step, int) and abs(step) <= MAX_STEP:
                self.curve.append({**numbers, "step": step})

    def value(self) -> dict[str, Any]:
        """Return `metrics` and `curve` as a result has them.

        Raises:
            DivergedError: A final number is not finite.
        """
        for name, number in self.final.items():
            if not math.isfinite(number):
                raise DivergedError(f"metric {name!r} is {number}")
        names = split_names([*self.final, *(name for point in self.curve for name in point)])
        names["step"] = "step"
        return {
            "metrics": {names[name]: number for name, number in self.final.items()},
            "curve": [
                {names[name]: n for name, n in point.items() if math.isfinite(n)}
                for point in self.curve
            ],
        }


def split_names(names: Iterable[str]) -> dict[str, str]:
    """Return `split/metric` for each name that a script uses.

    `eval_f1`, `val/f1` and `dev_f1` are validation, `test_f1` and `predict_f1` test, `train_f1`
    train; a plain `f1` is validation, unless the script says by another name what that is.
    """
    named: dict[str, str] = {}
    taken: set[str] = set()
    for name in sorted(dict.fromkeys(names), key=lambda name: _SPLIT.fullmatch(name) is None):
        wanted = _split_name(name)
        named[name] = name if wanted in taken else wanted
        taken.add(named[name])
    return named


def _split_name(name: str) -> str:
    match = _SPLIT.fullmatch(name)
    if match:
        return f"{_SPLITS.get(match[1], 'validation')}/{match[2]}"
    return name if "/" in name else f"validation/{name}"


def read_json(path: Path) -> Reported:
    """Read the metrics file of a trial.

    Raises:
        InputError: It is not there, not a JSON object, or holds no number.
    """
    if path.is_dir():
        raise InputError(f"{path.name} is a folder, not a JSON file", key="metrics")
    if not path.is_file():
        left = sorted(file.name for file in path.parent.glob("*"))[:MAX_LISTED_FILES]
        there = f"there are {', '.join(left)}" if left else "the folder is empty"
        raise InputError(
            f"the command wrote no {path.name} into its folder; {there}", key="metrics"
        )
    try:  # with the mark at its beginning that programs on Windows write
        numbers = _numbers(_json_object(path.read_text(encoding="utf-8-sig", errors="replace")))
    except ValueError as error:
        raise InputError(f"{path.name} {error}", key="metrics") from error
    if not numbers:
        raise InputError(f"{path.name} holds no number", key="metrics")
    return Reported(final=numbers)


def _json_object(text: str) -> dict[str, Any]:
    """Return the content of a JSON object.

    Raises:
        ValueError: It is none; the message goes on after its name.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ValueError("is not a JSON object")
    return content


def _numbers(content: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a JSON object by name, nested names joined by a slash.

    Raises:
        ValueError: One of them cannot be held, or it is nested too deep.
    """
    try:
        return dict(_named_numbers(content))
    except OverflowError as error:
        raise ValueError("holds a number that is too large for a float") from error
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error


def _named_numbers(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _named_numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", float(value)
