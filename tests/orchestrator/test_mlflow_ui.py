"""MLflow's UI comes up for a sweep and leaves nothing behind, however it is ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.job import State
from orchestrator.running.mlflow_ui import MlflowUiError, mlflow_ui
from orchestrator.running.tracking import (
    MlflowTracker,
    SweepInfo,
    SweepSummary,
    default_tracking_uri,
)

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("sweep folder")
    tracker = MlflowTracker(default_tracking_uri(folder), folder)
    tracker.start(SweepInfo(name="demo's sweep", id="demo"))
    assert tracker.finish(State.FINISHED, SweepSummary()).faults == ()
    return default_tracking_uri(folder)


def processes_on(port: int) -> list[psutil.Process]:
    """Return the processes whose command line names a port, MLflow's server and its children."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if {"--port", str(port)} <= set(process.info["cmdline"] or ())
    ]


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_the_page_of_the_sweep_answers_and_nothing_is_left_after_it(uri: str) -> None:
    with mlflow_ui(uri, experiment="demo's sweep") as url:
        address, _, page = url.partition("/#/")
        port = int(address.rpartition(":")[2])
        with urllib.request.urlopen(f"{address}/", timeout=10) as response:
            assert b"MLflow" in response.read()
        assert page.startswith("experiments/1/runs?")
        with mlflow_ui(address, experiment="demo's sweep") as same:  # a server that is there
            assert same == url
        server = processes_on(port)[0]
        group = os.getpgid(server.pid)
        family = [server, *server.children(recursive=True)]
        assert group != os.getpgid(0)
    assert is_free(port)
    assert not psutil.wait_procs(family, timeout=5)[1]
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


SHOWN = """
import sys, time
from orchestrator.running.mlflow_ui import mlflow_ui
with mlflow_ui(sys.argv[1]) as url:
    print(url, flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def shown(uri: str) -> Iterator[subprocess.Popen[str]]:
    """Show a tracking store in a process of its own, which prints the address once it is ready."""
    command = [sys.executable, "-c", SHOWN, uri]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_signal_takes_the_server_along(uri: str) -> None:
    with shown(uri) as process:
        assert process.stdout is not None
        url = process.stdout.readline()
        assert "/#/experiments/1/runs?" in url, "the sweep that changed last"
        port = int(url.partition("/#/")[0].rpartition(":")[2])
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) != 0
    assert is_free(port)
    assert not processes_on(port)


def test_an_interrupt_takes_a_server_along_that_is_only_starting(uri: str) -> None:
    with shown(uri) as process:
        deadline = time.monotonic() + 60
        while not (children := psutil.Process(process.pid).children()):
            assert time.monotonic() < deadline, "no server was started"
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) != 0
    assert not psutil.wait_procs(children, timeout=5)[1]


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(MlflowUiError, match=str(port)), mlflow_ui("sqlite:///x.db", port):
            pass


def test_a_server_that_cannot_start_shows_why_and_no_password() -> None:
    begun = time.monotonic()
    with (
        pytest.raises(MlflowUiError) as caught,
        mlflow_ui("postgresql+nothing://me:geheim@127.0.0.1:1/x"),
    ):
        pass
    assert "exit code" in str(caught.value)
    assert "nothing" in str(caught.value)
    assert "geheim" not in str(caught.value)
    assert time.monotonic() - begun < 60


def test_a_server_that_does_not_answer_is_named_all_the_same() -> None:
    with mlflow_ui("http://127.0.0.1:9") as url:
        assert url == "http://127.0.0.1:9"
