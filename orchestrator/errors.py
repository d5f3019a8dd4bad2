"""The errors that a user sees, each with what to do; nothing here knows how they are shown.

FanflareError
|- InvalidFileError    a file has faults; all of them are listed
|  |- InvalidSweepError    the sweep, or what it names
|  `- InvalidProfileError  the profile of a cluster
|- SubmissionError     a sweep cannot be sent to a cluster, or not be found there
|- ExportError         a trial cannot be exported, or not to this folder
|- SweepBusyError      another process is running this sweep
`- UnknownNameError    there is no such sweep, trial or backend
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_SHOWN_FAULTS = 20
"""A message lists so many faults: what fits on one screen."""


class FanflareError(Exception):
    """The base of all errors that end a command with a message instead of a traceback."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong with a sweep: where, what, and what would be right."""

    message: str
    key: str = ""
    """The key path in the file, as `space[0].learning_rate`."""
    line: int | None = None
    """Line in the file, from 1; None where the sweep came from Python."""
    nearest: str = ""
    """The nearest valid name, where there is one."""

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        key = f"{self.key}: " if self.key else ""
        hint = f" (did you mean {self.nearest!r}?)" if self.nearest else ""
        return f"{where}{key}{self.message}{hint}"


class InvalidFileError(FanflareError):
    """A file has faults.

    Attributes:
        faults: All of them, in the order of the file.
        path: The file, or an empty string.
    """

    subject = "the file"

    def __init__(self, faults: Sequence[Fault], path: str = "") -> None:
        self.faults = tuple(sorted(dict.fromkeys(faults), key=lambda fault: fault.line or 0))
        self.path = path
        count = f"{len(self.faults)} fault{'s' if len(self.faults) > 1 else ''}"
        lines = [f"{path or self.subject} has {count}:"]
        lines += [f"  {fault}" for fault in self.faults[:MAX_SHOWN_FAULTS]]
        if len(self.faults) > MAX_SHOWN_FAULTS:
            lines.append(f"  ... and {len(self.faults) - MAX_SHOWN_FAULTS} more")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[type[InvalidFileError], tuple[Sequence[Fault], str]]:
        """Return what makes it anew in another process, as `pickle` asks for it."""
        return type(self), (self.faults, self.path)


class InvalidSweepError(InvalidFileError):
    """A sweep has faults."""

    subject = "the sweep"


class InvalidProfileError(InvalidFileError):
    """The profile of a cluster has faults."""

    subject = "the profile"


class SubmissionError(FanflareError):
    """A sweep cannot be sent to a cluster, or not be found there."""


class ExportError(FanflareError):
    """A trial cannot be exported, or not to this folder."""


class SweepBusyError(FanflareError):
    """Another process is running this sweep."""


class UnknownNameError(FanflareError):
    """There is no such sweep or trial in the store, or no such backend."""


def nearest_name(given: str, allowed: Iterable[str]) -> str:
    """Return the allowed name that looks most like the given one, or an empty string."""
    matches = difflib.get_close_matches(given, list(allowed), n=1, cutoff=0.6)
    return matches[0] if matches else ""
