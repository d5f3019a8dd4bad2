"""Runs real child processes, and looks for what a command has left behind."""

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipelines.command.process import execute
from tests.pipelines.scripts import Sweeps

OUTLIVING = """
import os, subprocess, sys, time
background = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
with open("pids.txt", "w") as file:
    file.write(f"{os.getpid()} {background.pid}")
time.sleep(300)
"""


@pytest.fixture
def sweeps(tmp_path):
    return Sweeps(tmp_path)


def pids(folder: Path):
    """Return the processes of the script that would outlive its trial, once it has started them."""
    wait_for((folder / "pids.txt").exists)
    wait_for(lambda: len((folder / "pids.txt").read_text().split()) == 2)
    return [int(word) for word in (folder / "pids.txt").read_text().split()]


def wait_for(condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def all_end(processes):
    wait_for(lambda: not any(is_alive(pid) for pid in processes))


def test_a_timeout_ends_all_processes_of_a_command(sweeps):
    sweeps.script(OUTLIVING)
    failure = sweeps.failure({"command": "{python} script.py", "timeout_s": 1.5})
    assert "was ended after 1.5 s (timeout_s)" in failure.message
    all_end(pids(sweeps.folder))


def test_what_a_command_leaves_in_the_background_is_ended(sweeps):
    sweeps.script(
        OUTLIVING.rpartition("time.sleep")[0] + "print('{\"accuracy\": 1}')",
    )
    found = sweeps.run({"command": "{python} script.py", "metrics": "stdout"})
    assert found.exit_code == 0
    all_end(pids(sweeps.folder))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_an_interrupted_or_killed_run(sweeps, number):
    sweeps.script(OUTLIVING)
    path = sweeps.file({"command": "{python} script.py"})
    code = f"from orchestrator import run; run({str(path)!r}, backend='inline')"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=sweeps.folder)
    started = pids(sweeps.folder)
    os.kill(process.pid, number)
    all_end(started)
    process.wait(30)


def test_no_process_outlives_a_worker_that_ray_kills(ray_session, tmp_path):
    ray = importlib.import_module("ray")  # not before it is needed: it takes a second
    (tmp_path / "script.py").write_text(OUTLIVING)

    @ray.remote
    class Worker:
        def work(self, folder):
            execute([sys.executable, "script.py"], folder, {}, None, print)

    worker = Worker.remote()
    worker.work.remote(tmp_path)
    started = pids(tmp_path)
    ray.kill(worker)
    all_end(started)
