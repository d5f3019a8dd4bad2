"""The places that an SQLite file of MLflow holds, when its folder was moved; knows no sweep.

MLflow writes absolute places of artifacts into its database. Where a store was moved or copied,
they lead to where it was, which may be another store by now.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

FOLDER = "mlflow-artifacts"
"""Beside the SQLite file."""
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow's schema; an older one lacks some."""
_HAS_COLUMN = "SELECT 1 FROM pragma_table_info(?) WHERE name = ?"


def follow(database: Path, experiment: str) -> None:
    """Let an experiment's artifacts be beside the database, as when it was made.

    Raises:
        sqlite3.Error: The database cannot be read or written.
    """
    folder = database.resolve().parent / FOLDER
    if not database.exists() or not folder.is_dir():
        return
    now = folder.as_uri()
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        query = "SELECT artifact_location FROM experiments WHERE name = ?"
        (before,) = connection.execute(query, (experiment,)).fetchone() or ("",)
        if before == now or not (before.startswith("file:") and before.endswith(f"/{FOLDER}")):
            return
        for table, column in _PLACES:
            if not connection.execute(_HAS_COLUMN, (table, column)).fetchone():
                continue
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?)"  # noqa: S608 - of _PLACES
                f" WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                (now, len(before) + 1, before, len(before) + 1, f"{before}/"),
            )
