"""Throw-away servers on loopback for tests: an MLflow server and a PostgreSQL cluster.

Both live in a folder that the caller gives and end with the block, with all their processes.
"""

from __future__ import annotations

import contextlib
import getpass
import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
POSTGRES_USER = "postgres"
TEMPLATE = "mlflow_template"
"""The database of which all others are copies."""


def free_port() -> int:
    """Return a port on the loopback address that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class MlflowServer:
    """An MLflow server that can be taken away and brought back on the same port."""

    def __init__(self, backend_uri: str, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self._backend_uri = backend_uri
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, timeout_s: float = 120) -> None:
        """Start the server and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--workers", "1"]
        artifacts = ["--artifacts-destination", str(self._folder / "artifacts")]
        log_path = self._folder / "mlflow-server.log"
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port), *artifacts],
                env={
                    **os.environ,
                    "MLFLOW_BACKEND_STORE_URI": self._backend_uri,
                    "MLFLOW_DISABLE_TELEMETRY": "true",
                    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                },
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _wait_for(f"{self.url}/health", self._process, log_path, timeout_s)

    def stop(self) -> None:
        """End the server at once, as a machine that is switched off."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def mlflow_server(backend_uri: str, folder: Path) -> Iterator[MlflowServer]:
    """Run an MLflow server with its artifacts in a folder."""
    server = MlflowServer(backend_uri, folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@dataclass(frozen=True)
class PostgresServer:
    """A PostgreSQL cluster that runs."""

    port: int

    def new_database(self) -> str:
        """Return the URI of a new database, in which MLflow has made its tables already."""
        name = f"mlflow_{uuid.uuid4().hex}"
        with contextlib.closing(self._connect()) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [TEMPLATE])
                if cursor.fetchone() is None:
                    self._make_template(cursor)
                cursor.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        return self._uri(name)

    def _make_template(self, cursor: Any) -> None:
        """Let MLflow make its tables, which takes seconds, in a database that is only copied."""
        cursor.execute(f"CREATE DATABASE {TEMPLATE}")
        opening = importlib.import_module("orchestrator.running.tracking.mlflow_client")  # late
        engine = opening.engine_of(opening.open_client(self._uri(TEMPLATE)))
        with contextlib.closing(engine.raw_connection()) as connection:
            # The default experiment names a folder of artifacts; MLflow makes it anew.
            connection.cursor().execute("DELETE FROM experiments")
            connection.commit()
        engine.dispose()  # a database in use cannot be copied

    def _connect(self) -> Any:
        psycopg2 = importlib.import_module("psycopg2")
        return psycopg2.connect(host=HOST, port=self.port, user=POSTGRES_USER, dbname="postgres")

    def _uri(self, database: str) -> str:
        return f"postgresql+psycopg2://{POSTGRES_USER}@{HOST}:{self.port}/{database}"


@contextlib.contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a PostgreSQL cluster.

    Raises:
        FileNotFoundError: PostgreSQL is not installed.
    """
    # A folder of its own right below the temp folder: another user must be able to reach it.
    folder = Path(tempfile.mkdtemp(prefix="fanflare-postgres-"))
    data, port = folder / "data", free_port()
    as_user = _as_unprivileged_user(folder)
    process: subprocess.Popen[bytes] | None = None
    try:
        initdb = [_postgres_tool("initdb"), "-D", str(data), "-U", POSTGRES_USER, "--no-sync"]
        subprocess.run([*as_user, *initdb, "-E", "UTF8", "--auth=trust"], check=True, cwd=folder,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        command = [_postgres_tool("postgres"), "-D", str(data), "-h", HOST, "-p", str(port)]
        with (folder / "postgres.log").open("wb") as log:
            process = subprocess.Popen(
                [*as_user, *command, "-k", "", "-c", "fsync=off"],
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _wait_for_port(port, process)
        yield PostgresServer(port)
    finally:
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                # PostgreSQL's fast shutdown: it ends its own children.
                os.killpg(process.pid, signal.SIGINT)
            process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def has_postgres() -> bool:
    """Return whether PostgreSQL's programs are on this machine."""
    return bool(_find_postgres_tool("initdb") and _find_postgres_tool("postgres"))


def _find_postgres_tool(name: str) -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def _postgres_tool(name: str) -> str:
    found = _find_postgres_tool(name)
    if found is None:
        raise FileNotFoundError(f"{name} of PostgreSQL is not installed")
    return found


def _as_unprivileged_user(folder: Path) -> list[str]:
    """Return the start of a command that does not run as root, which PostgreSQL refuses."""
    if getpass.getuser() != "root":
        return []
    shutil.chown(folder, POSTGRES_USER)
    return ["setpriv", f"--reuid={POSTGRES_USER}", f"--regid={POSTGRES_USER}", "--init-groups"]


def _wait_for_port(port: int, process: subprocess.Popen[bytes], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            time.sleep(0.5)  # it accepts connections a moment before it accepts users
            return
        time.sleep(0.1)
    raise TimeoutError("PostgreSQL did not start")


def _wait_for(url: str, process: subprocess.Popen[bytes], log_path: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.1)
    raise TimeoutError(f"no answer from {url}:\n{log_path.read_text()[-2000:]}")
