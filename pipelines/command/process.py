"""Runs a command to its end and hands on its output line by line; knows no metrics, no sweep."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

GRACE_S = 5.0
"""How long a command that is to end has for ending in good order."""
MAX_TAIL_LINES = 20
"""Lines of output that are kept for a failure's message."""

_SUPERVISOR = Path(__file__).with_name("supervisor.py")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    exit_code: int
    """By a shell's convention 128 + n where signal n ended it."""
    timed_out: bool
    tail: Sequence[str]
    """The last lines of stdout and stderr together."""
    last_error: str
    """The last line of stderr."""

    @property
    def signal_name(self) -> str:
        """The name of the signal that ended it, or an empty string."""
        number = self.exit_code - 128
        return signal.Signals(number).name if number in set(signal.Signals) else ""


def execute(
    words: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    timeout_s: float | None,
    on_line: Callable[[str], None],
) -> Ended:
    """Run a command; whatever ends this call, no process of the command outlives it.

    Args:
        words: The program and its arguments.
        folder: Where it runs.
        environment: All of its environment.
        timeout_s: Seconds after which it is ended.
        on_line: Called with each line of stdout.
    """
    process = subprocess.Popen(  # noqa: S603 - the user's own command, no shell
        # Isolated, so that a PYTHONPATH meant for the command cannot break its supervisor.
        [sys.executable, "-I", "-S", str(_SUPERVISOR), str(GRACE_S), *words],
        stdin=subprocess.PIPE,  # the lifeline
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=dict(environment),
        start_new_session=True,  # Ctrl-C is for this process, which then ends the command
    )
    assert process.stdin and process.stdout and process.stderr
    tail: deque[str] = deque(maxlen=MAX_TAIL_LINES)
    errors: deque[str] = deque(maxlen=1)
    readers = [
        _Reader(process.stdout, sys.stdout, (tail.append, on_line)),
        _Reader(process.stderr, sys.stderr, (tail.append, errors.append)),
    ]
    timed_out = False
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        timed_out = True
    finally:
        process.stdin.close()
        process.wait()
        for reader in readers:
            reader.join(GRACE_S)  # a daemon that left the group may hold its end open
    return Ended(
        exit_code=process.returncode if process.returncode >= 0 else 128 - process.returncode,
        timed_out=timed_out,
        tail=tuple(tail),
        last_error=errors[0] if errors else "",
    )


class _Reader(threading.Thread):
    """Copies one stream line by line; both streams at once, or a full pipe would block."""

    def __init__(
        self, pipe: IO[bytes], copy: IO[str], takers: Sequence[Callable[[str], None]]
    ) -> None:
        super().__init__(daemon=True)
        self._lines = io.TextIOWrapper(pipe, encoding="utf-8", errors="replace", newline="\n")
        self._copy = copy
        self._takers = takers
        self.start()

    def run(self) -> None:
        """Copy until the stream ends."""
        for raw in self._lines:
            line = raw.rstrip("\r\n").rpartition("\r")[2]  # of a progress bar what stays on screen
            self._copy.write(f"{line}\n")
            if line.strip():
                for take in self._takers:
                    take(line)
