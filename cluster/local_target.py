"""Sends a program to a process of its own on this machine, which outlives the terminal."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from cluster.job import State
from cluster.naming import sweep_id
from cluster.profile import Profile
from cluster.target import Problem, Standing, Submission, TargetError

POLL_S = 0.5
STOPPING_S = 30.0
"""Seconds for which a driver that was cancelled is waited for."""

_SAME_START_S = 2.0
"""A process of the same number that began so much later is another one."""


class LocalTarget:
    """The target `local`; all that it knows of a submission lies beside the sweep's results."""

    def __init__(self, profile: Profile) -> None:
        self._env = {k: v for k, v in profile.env.items() if isinstance(v, str)}

    def problems(self, submission: Submission) -> Sequence[Problem]:
        """Return nothing: what a machine lacks, `doctor` and the run itself tell."""
        del submission
        return []

    def submit(self, submission: Submission) -> Standing:
        """Start a detached process, or return the one that has not ended.

        Raises:
            TargetError: There is no folder in which it could note what it started.
        """
        folder = _folder(submission.name, submission.store)
        _make(folder)
        with FileLock(folder / "submit.lock"):
            last = self.standing(submission.name, submission.store)
            if last is not None and not last.state.is_final():
                return last
            number = (last.num_attempts if last else 0) + 1
            self._start(submission, folder, number)
        standing = self.standing(submission.name, submission.store)
        assert standing is not None
        return standing

    def _start(self, submission: Submission, folder: Path, number: int) -> None:
        root = folder / "submission"
        submission.bundle.unpack(root)
        log = folder / f"driver-{number:04d}.log"
        # `sh` notes the exit code, so that it is known when nobody waits for the process.
        code = 'exec 3>"$0"; "$@" 3>&-; echo $? >&3'
        # The current folder is that of a run in the foreground, for what the sweep leaves there;
        # with `-P` no module in it is taken for one of Python's own.
        program = [sys.executable, "-P", "-m", submission.module, str(root)]
        process = subprocess.Popen(  # noqa: S603 - our own module
            ["/bin/sh", "-c", code, f"{log}.code", *program],
            env={**os.environ, **self._env, "PYTHONPATH": _path(root), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log.open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        note = {
            "pid": process.pid,
            "started_at": psutil.Process(process.pid).create_time(),
            "submitted_at": time.time(),
            "number": number,
            "owner": submission.owner,
            "bundle": submission.bundle.digest,
        }
        (folder / "submission.json").write_text(json.dumps(note))

    def standing(self, name: str, store: str) -> Standing | None:
        """Return how the newest process stands, or None."""
        folder = _folder(name, store)
        note = _note(folder)
        if note is None:
            return None
        code = _exit_code(folder, note)
        state, message = State.RUNNING, ""
        if code == 128 + signal.SIGTERM:  # as the shell counts
            state, message = State.KILLED, "the driver was ended before it could record anything"
        elif code is not None:
            state = State.FINISHED if code == 0 else State.FAILED
            message = "" if code == 0 else f"the driver ended with exit code {code}"
        elif _process(note) is None:
            state, message = State.KILLED, "the driver is gone without a word"
        return Standing(
            id=str(note["pid"]),
            state=state,
            message=message,
            action="submit it again: what is finished is kept" if message else "",
            owner=note["owner"],
            bundle=note["bundle"],
            num_attempts=note["number"],
            submitted_at=note["submitted_at"],
            facts={"log": str(_log(folder, note))},
        )

    def logs(self, name: str, store: str, *, follow: bool = False) -> Iterator[str]:
        """Yield the lines of the newest process's log.

        Raises:
            TargetError: There is none.
        """
        folder = _folder(name, store)
        note = _note(folder)
        if note is None:
            raise TargetError(f"sweep {name!r} was not submitted on this machine")
        with _log(folder, note).open(encoding="utf-8", errors="replace") as file:
            rest = ""
            while True:
                has_ended = _exit_code(folder, note) is not None or _process(note) is None
                *lines, rest = (rest + file.read()).split("\n")
                yield from lines
                if has_ended or not follow:
                    break
                time.sleep(POLL_S)
            if rest:
                yield rest

    def cancel(self, name: str, store: str) -> None:
        """Send SIGTERM to the driver, which records the end, and wait for it.

        Raises:
            TargetError: It has not ended after :data:`STOPPING_S`.
        """
        note = _note(_folder(name, store))
        told: set[int] = set()
        deadline = time.monotonic() + STOPPING_S
        while note and (shell := _process(note)) is not None:
            if time.monotonic() > deadline:
                raise TargetError(
                    f"process {shell.pid} was told to end and still runs after {STOPPING_S:.0f} s: "
                    "its log tells what it does; submit again when it has ended"
                )
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in shell.children():  # the driver, once the shell has started it
                    if child.pid not in told:  # a second signal would disturb the end
                        child.send_signal(signal.SIGTERM)
                        told.add(child.pid)
            time.sleep(0.1)


def _path(root: Path) -> str:
    code = Path(__file__).resolve().parents[1]
    # The user's own pipeline may lie in the current folder, as for a run in the foreground.
    places = [str(root), str(code), str(Path.cwd()), os.environ.get("PYTHONPATH")]
    return os.pathsep.join(filter(None, places))


def _folder(name: str, store: str) -> Path:
    if "://" in store:
        return _own_folder() / f"{name}-{sweep_id(name, store)}"
    return Path(store) / "sweeps" / name


def _own_folder() -> Path:
    """Return where a user keeps what belongs into a store that is no folder."""
    return Path(tempfile.gettempdir()).resolve() / f"fanflare-{os.getuid()}"


def _make(folder: Path) -> None:
    """Make the folder of a submission; a user's own one lets nobody else in.

    Raises:
        TargetError: It cannot be made, or somebody else has laid it there.
    """
    try:
        own = _own_folder()
        if folder.is_relative_to(own):
            own.mkdir(mode=0o700, parents=True, exist_ok=True)
            if own.lstat().st_uid != os.getuid():
                raise TargetError(f"{own} belongs to another user: remove it, or set TMPDIR")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TargetError(f"the folder {folder} cannot be made: {error.strerror}") from error


def _note(folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / "submission.json").read_text())
    except (OSError, ValueError):
        return None
    return found


def _log(folder: Path, note: dict[str, Any]) -> Path:
    return folder / f"driver-{note['number']:04d}.log"


def _exit_code(folder: Path, note: dict[str, Any]) -> int | None:
    try:
        return int(Path(f"{_log(folder, note)}.code").read_text())
    except (OSError, ValueError):
        return None


def _process(note: dict[str, Any]) -> psutil.Process | None:
    """Return the process of a note; None where it is gone, or the number belongs to another."""
    try:
        process = psutil.Process(note["pid"])
        is_same = abs(process.create_time() - note["started_at"]) < _SAME_START_S
        is_alive = process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if is_same and is_alive else None
