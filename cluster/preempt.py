"""Ends this node's jobs in good order before its machine is taken away; not what they compute.

    python -m cluster.preempt --grace-s 110

Meant for the hook that runs before a pod is stopped. Ray is told to place nothing here any more,
and to count what ends here as preempted. Every worker gets a SIGTERM: it saves a checkpoint and
ends its job, which goes on elsewhere. Those that come to none by the end of the grace period get
another, which breaks the job off.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence

import psutil

from cluster.ray_process import TITLE

DRAIN_S = 15.0
"""How long the head may take to answer: it may be gone as well."""

BREAK_S = 5.0
"""How long before the end of the grace period jobs without a checkpoint are broken off."""


def preempt(grace_s: float, node_ip: str | None = None) -> int:
    """End the jobs of this node; return how many workers are left.

    Args:
        grace_s: How long they may take.
        node_ip: The address of the node, where several are on one machine.
    """
    deadline = time.monotonic() + grace_s
    raylets = _raylets(node_ip)
    for raylet in raylets:
        _drain(raylet, grace_s)
    workers = [worker for raylet in raylets for worker in _workers(raylet)]
    _terminate(workers)
    break_s = min(BREAK_S, grace_s / 2)
    left = _left(workers, deadline - break_s)
    _terminate(left)
    return len(_left(left, deadline))


def _raylets(node_ip: str | None) -> list[psutil.Process]:
    """Return the process of this user that is Ray's node here, or several of one machine."""
    found = []
    for process in psutil.process_iter(["uids", "name"]):
        uids = process.info["uids"]
        is_ours = process.info["name"] == "raylet" and uids and uids.real == os.getuid()
        if is_ours and node_ip in (None, _option(process, "node_ip_address")):
            found.append(process)
    return found


def _workers(raylet: psutil.Process) -> list[psutil.Process]:
    found = []
    for process in raylet.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "".join(process.cmdline()[:1]).startswith(TITLE):
                found.append(process)
    return found


def _drain(raylet: psutil.Process, grace_s: float) -> None:
    """Let Ray place nothing on a node any more."""
    node_id, address = _option(raylet, "node_id"), _option(raylet, "gcs-address")
    if not node_id or not address:
        return
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "drain-node"),
        *("--address", address, "--node-id", node_id),
        *("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "its machine goes"),
        *("--deadline-remaining-seconds", str(int(grace_s))),
    ]
    # Without it jobs are saved all the same.
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(  # noqa: S603 - what Ray's own process was started with
            command, capture_output=True, timeout=min(DRAIN_S, grace_s / 3), check=True
        )


def _option(process: psutil.Process, name: str) -> str:
    """Return an option of a process's own command line, or nothing."""
    with contextlib.suppress(psutil.Error):
        start = f"--{name}="
        values = (part.removeprefix(start) for part in process.cmdline() if part.startswith(start))
        return next(values, "")
    return ""


def _left(processes: Sequence[psutil.Process], deadline: float) -> Sequence[psutil.Process]:
    """Return those that have not ended at the deadline, or none as soon as all have."""
    while (left := [process for process in processes if _is_alive(process)]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.1)
    return left


def _is_alive(process: psutil.Process) -> bool:
    # Ray's node goes as soon as it is drained, and then nobody takes note of its workers' ends.
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _terminate(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()


def main() -> None:
    """Read the command line, end the jobs, and say what is left."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--grace-s", type=float, default=110.0, help="seconds until all is over")
    parser.add_argument("--node-ip", help="the node's address, where a machine has several")
    options = parser.parse_args()
    num_left = preempt(options.grace_s, options.node_ip)
    sys.stdout.write(f"{num_left} workers did not end in time\n" if num_left else "no job runs\n")


if __name__ == "__main__":
    main()
