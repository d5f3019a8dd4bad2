"""Runs one command and leaves none of its processes behind, whoever dies first; plain stdlib.

    worker ==lifeline==> supervisor ----> the command, in a process group of its own
                              `---------> watcher

A script, never imported. The lifeline is a pipe whose other end only the worker holds, so it breaks
when the worker closes it (timeout, interrupt) and also when the worker dies in any way at all. The
watcher then ends the group: TERM, and KILL after a grace. The watcher is not the supervisor itself,
because Ray kills the direct children of a worker that it ends (seen in 2.60).
"""

import os
import signal
import subprocess
import sys
import time

LOOK_EVERY_S = 0.05


def end_group(group: int, grace_s: float) -> None:
    """End all processes of a group; return when none is left or KILL is sent."""
    deadline = time.monotonic() + grace_s
    try:
        os.killpg(group, signal.SIGTERM)
        while time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)
            os.killpg(group, 0)
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # none is left; macOS says so by the second


def watch(lifeline: int, group: int, grace_s: float) -> None:
    """Wait until the lifeline breaks, then end the group."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for output in (1, 2):  # else the worker would wait for more output
        os.dup2(nowhere, output)
    os.read(lifeline, 1)
    end_group(group, grace_s)


def main(grace_s: float, command: list[str]) -> int:
    """Run the command and return its exit code, by a shell's convention 128 + n for signal n."""
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]!r}: {error.strerror}\n")
        return 127
    watcher = os.fork()
    if watcher == 0:
        watch(0, child.pid, grace_s)
        os._exit(0)
    code = child.wait()
    end_group(child.pid, grace_s)  # what it left running in the background
    os.kill(watcher, signal.SIGKILL)
    os.waitpid(watcher, 0)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
