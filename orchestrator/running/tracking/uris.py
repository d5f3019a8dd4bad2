"""Tracking URIs: which are allowed, whether they answer, how to show them; imports no mlflow."""

from __future__ import annotations

import base64
import contextlib
import difflib
import importlib
import importlib.util
import os
import re
import sqlite3
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

ALLOWED = (
    "sqlite:///PATH, http://HOST:PORT, https://HOST, postgresql://USER@HOST/DATABASE or databricks"
)
_SCHEMES = ("sqlite", "http", "https", "postgresql", "databricks")
_POSTGRES_DRIVERS = ("psycopg2", "psycopg")
"""Modules that MLflow can use for PostgreSQL."""


def default_tracking_uri(sweep_folder: Path) -> str:
    """Return the URI of the SQLite database of a sweep, `mlflow.db` in its folder."""
    return f"sqlite:///{(sweep_folder.resolve() / 'mlflow.db').as_posix()}"


def sqlite_path(uri: str) -> Path | None:
    """Return the file behind a SQLite URI, or None for any other URI."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").partition("?")[0])


def is_server(uri: str) -> bool:
    """Return whether a URI names a server, which keeps artifacts itself, and not a database."""
    return urlsplit(uri).scheme in ("http", "https") or uri.partition(":")[0] == "databricks"


def with_driver(uri: str) -> str:
    """Return a database URI with a driver that is installed.

    SQLAlchemy looks for one driver only if the URI names none: psycopg2 before its version 2.1,
    psycopg since.
    """
    installed = next(filter(importlib.util.find_spec, _POSTGRES_DRIVERS), None)
    if installed is None or not uri.startswith("postgresql://"):
        return uri
    return f"postgresql+{installed}{uri.removeprefix('postgresql')}"


def mask_credentials(text: str) -> str:
    """Return a text with the credentials in its URIs replaced by `***`.

    It masks rather too much: a password may hold slashes and at-signs of its own. A revision, as
    in `hf://datasets/name@v1`, is no credential.
    """
    text = re.sub(r"://(?:[^\s/@:'\"<>]*:[^\s'\"<>]*|[^\s/'\"<>]*)@", "://***@", text)
    return re.sub(r"(?i)\b(password|passwd|token|secret)=[^&\s'\"]+", r"\1=***", text)


def check_tracking_uri(uri: str, timeout_s: float = 5.0) -> str | None:
    """Return what is wrong with a tracking URI, or None if it can be used.

    Reaches for the server or the database; writes nothing.
    """
    shown = mask_credentials(uri)
    scheme, _, driver = uri.partition(":")[0].lower().partition("+")
    if ":" not in uri and uri != "databricks":
        return f"tracking URI {shown!r} has no scheme; allowed: {ALLOWED}"
    if scheme == "databricks":
        return None
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError as error:
        return f"tracking URI {shown!r} cannot be read ({error}); allowed: {ALLOWED}"
    if scheme == "sqlite" and not driver:
        fault = _sqlite_fault(uri)
    elif scheme in ("http", "https") and not driver:
        fault = _server_fault(parts, timeout_s)
    elif scheme == "postgresql" and driver in ("", *_POSTGRES_DRIVERS):
        fault = _postgres_fault(uri, timeout_s)
    else:
        return f"tracking URI {shown!r}: {_unknown_scheme(scheme)}; allowed: {ALLOWED}"
    return fault and f"tracking URI {shown!r}: {mask_credentials(fault)}"


def _unknown_scheme(scheme: str) -> str:
    if scheme == "file":
        return "MLflow keeps no runs in plain files any more"
    nearest = difflib.get_close_matches(scheme, _SCHEMES, n=1)
    hint = f", did you mean {nearest[0]!r}?" if nearest else ""
    return f"{scheme!r} is not supported{hint}"


def _sqlite_fault(uri: str) -> str | None:
    path = sqlite_path(uri)
    if path is None or path.name in ("", ":memory:"):
        return "it names no file; write sqlite:///relative/path.db or sqlite:////absolute/path.db"
    if path.is_dir():
        return "this is a folder, not a database file"
    existing = path
    while not existing.exists():
        existing = existing.absolute().parent
    if not os.access(existing, os.W_OK) or (existing != path and not existing.is_dir()):
        return f"{existing} cannot be written"
    return _sqlite_content_fault(path) if existing == path else None


def _sqlite_content_fault(path: Path) -> str | None:
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=1)) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.DatabaseError as error:
        # A locked one is in use at the moment; MLflow waits for its turn.
        return None if "locked" in str(error) else f"it is no database that opens ({error})"
    return None


def _server_fault(parts: SplitResult, timeout_s: float) -> str | None:
    if not parts.hostname:
        return "it names no host"
    host = parts.netloc.rpartition("@")[2]
    url = f"{parts.scheme}://{host}{parts.path.rstrip('/')}/health"
    request = urllib.request.Request(url)  # noqa: S310 - the caller admits http and https only
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request.add_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:  # noqa: S310 - as above
            response.read(64)
    except urllib.error.HTTPError as error:
        if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return (
                f"the server refuses access (HTTP {error.code}); set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, or have it allow this host"
            )
        return f"a server answers, but not as MLflow does ({url}: HTTP {error.code})"
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        return f"no MLflow server answers at {url} within {timeout_s:g} s ({reason})"
    return None


def _postgres_fault(uri: str, timeout_s: float) -> str | None:
    scheme, _, rest = with_driver(uri).partition("://")
    module = scheme.partition("+")[2]
    if not module or importlib.util.find_spec(module) is None:
        return f"PostgreSQL needs the Python package {module or 'psycopg2'} beside fanflare"
    driver = importlib.import_module(module)
    try:
        driver.connect(f"postgresql://{rest}", connect_timeout=max(2, round(timeout_s))).close()
    except driver.Error as error:
        return f"the database cannot be opened ({' '.join(str(error).split())})"
    return None
