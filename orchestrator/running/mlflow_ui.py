"""MLflow's own UI for a sweep, as a child process with a certain end; imports no mlflow."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from http.client import HTTPException
from types import FrameType
from typing import IO, Any
from urllib.parse import quote

from orchestrator.errors import FanflareError
from orchestrator.running.tracking.uris import mask_credentials, with_driver
from orchestrator.running.tracking.view import VIEW_QUERY, VIEW_TAG

START_TIMEOUT_S = 120.0
"""A quiet laptop takes 6 s, a loaded machine of two cores a minute."""
STOP_TIMEOUT_S = 5.0
"""Seconds between asking the server to end and ending it."""
HOST = "127.0.0.1"
NEWEST_FIRST = "orderByKey=attributes.start_time&orderByAsc=false"
"""Until a sweep has configs: an order in which MLflow shows trials nested below their sweep."""


class MlflowUiError(FanflareError):
    """MLflow's UI could not be started."""


@contextlib.contextmanager
def mlflow_ui(uri: str, port: int | None = None, *, experiment: str = "") -> Iterator[str]:
    """Serve a tracking store in MLflow's UI on this machine until the block ends.

    SIGTERM ends the block as Ctrl-C does, so that the server never outlives it.

    Args:
        uri: A tracking URI. If it names a server, nothing is started.
        port: The port on the loopback address; a free one by default.
        experiment: The sweep's name; by default the one that changed last.

    Yields:
        The address of the sweep's page, its configs with the best first; of a server that does
        not say where that is, its own.

    Raises:
        MlflowUiError: The port is taken, or the server does not answer in time.
    """
    if uri.startswith(("http://", "https://")):
        yield _page(uri.rstrip("/"), experiment)
        return
    port = _usable_port(port)
    with tempfile.TemporaryFile() as log, _ending_on_sigterm():
        server = _start(uri, port, log)
        try:
            base = f"http://{HOST}:{port}"
            _wait_until_ready(server, base, log)
            yield _page(base, experiment)
        finally:
            _stop(server)


def _usable_port(port: int | None) -> int:
    with socket.socket() as probe:
        # Without this, a port that was in use a minute ago would count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port or 0))
        except OSError as error:
            raise MlflowUiError(f"port {port} cannot be used ({error.strerror})") from None
        return int(probe.getsockname()[1])


def _start(uri: str, port: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    settings = {
        # Any user may read a command line, so the URI, which may hold a password, goes here.
        "MLFLOW_BACKEND_STORE_URI": with_driver(uri),
        "MLFLOW_DISABLE_TELEMETRY": os.environ.get("MLFLOW_DISABLE_TELEMETRY", "true"),
        # Background jobs serve MLflow's tracing features; their runner outlives the server.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    command = ["-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    return subprocess.Popen(  # noqa: S603 - no part of the command comes from outside
        [sys.executable, *command],
        env={**os.environ, **settings},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _wait_until_ready(server: subprocess.Popen[bytes], base: str, log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            reason = f"it ended with exit code {server.returncode}"
            break
        try:
            _get(f"{base}/health")
        except (OSError, urllib.error.HTTPError):
            time.sleep(0.1)
        else:
            return
    else:
        reason = f"it did not answer within {START_TIMEOUT_S:g} s"
    log.seek(0)
    tail = log.read().decode(errors="replace").splitlines()[-15:]
    raise MlflowUiError(
        mask_credentials("\n".join([f"MLflow's UI did not start: {reason}", *tail]))
    )


def _page(base: str, experiment: str) -> str:
    """Return the address of an experiment's runs, or of the UI if there is none."""
    request: dict[str, Any] = {"max_results": 2}
    if experiment:
        request["filter"] = f"name = {json.dumps(experiment, ensure_ascii=False)}"
    try:
        answer = _get(f"{base}/api/2.0/mlflow/experiments/search", request)
    except (OSError, ValueError, HTTPException):
        return base
    for found in answer.get("experiments", []):
        # Experiment 0 is MLflow's empty default.
        if (number := found["experiment_id"]) != "0":
            has_view = any(tag["key"] == VIEW_TAG for tag in found.get("tags", []))
            query = VIEW_QUERY if has_view else NEWEST_FIRST
            return f"{base}/#/experiments/{quote(number)}/runs?{query}"
    return base


def _get(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **_authorization()}
    request = urllib.request.Request(url, data=data, headers=headers)  # noqa: S310 - the user's own
    # No proxy stands between this machine and itself.
    is_here = url.startswith(f"http://{HOST}:")
    opener = urllib.request.build_opener(*[urllib.request.ProxyHandler({})] * is_here)
    with opener.open(request, timeout=10) as response:
        content = response.read()
    return json.loads(content) if body is not None else content


def _authorization() -> dict[str, str]:
    """Return who we are to a tracking server, from the variables that MLflow's client reads."""
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    if token:
        return {"Authorization": f"Bearer {token}"}
    name, password = (os.environ.get(f"MLFLOW_TRACKING_{key}") for key in ("USERNAME", "PASSWORD"))
    if not (name and password):
        return {}
    return {"Authorization": f"Basic {b64encode(f'{name}:{password}'.encode()).decode()}"}


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End all processes of the server's group: those of its children that ignore TERM as well."""
    # The group keeps the server's number until its last process is gone.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(STOP_TIMEOUT_S)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while time.monotonic() < deadline:
            os.killpg(server.pid, 0)
            time.sleep(0.05)
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


@contextlib.contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block as an exception, where this thread may say so."""

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
