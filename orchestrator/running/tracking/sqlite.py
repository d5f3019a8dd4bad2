"""Making SQLite quick enough for a tracker; knows files and engines, not runs."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import event


def prepare_database(path: Path) -> None:
    """Make the database file if need be, and give it a write-ahead log.

    A commit then waits for the disk once instead of several times, and the UI can read while the
    sweep writes. The mode stays with the file; where a file system cannot have it, SQLite keeps
    the old one.

    Raises:
        OSError: The folder cannot be made.
        sqlite3.Error: The file cannot be opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=20)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


def relax_commits(engine: Any) -> None:
    """Let the commits of an SQLAlchemy engine not wait for the disk.

    After a power cut the last runs may be missing, but never half there, and a rerun of the sweep
    writes them again.
    """
    # MLflow keeps one engine a database for the whole process, and every run of a sweep comes here.
    if not event.contains(engine, "connect", _relax):
        event.listen(engine, "connect", _relax)
        # Connections that are open already were made without it.
        engine.dispose()


def free_engine(engine: Any) -> None:
    """Give back what an SQLAlchemy engine holds for later: its connections and compiled statements.

    MLflow never forgets an engine, and the statements alone take 5 MiB: a notebook that runs one
    sweep after the other would grow with each. The engine can be used again at any time.
    """
    engine.clear_compiled_cache()
    engine.dispose()


def _relax(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")
