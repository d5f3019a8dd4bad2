"""The empty database of the installed MLflow, kept in the cache; knows no sweep.

MLflow makes a new database by all the migrations of its history, which keeps a core busy for two
seconds. A copy of one that it made before takes milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
from mlflow import MlflowClient

from pipelines.sources.cache import cache_folder, made_once


def copy_blank_database(path: Path) -> None:
    """Lay MLflow's empty database where no file is yet, whole or not at all.

    Raises:
        OSError: The cache or the folder cannot be written, or it knows no hard links.
        mlflow.exceptions.MlflowException, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error: The
            empty database could not be made.
    """
    if path.exists():
        return
    blank = made_once(cache_folder() / "mlflow" / f"{mlflow.__version__}.db", _make)
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="blank-", dir=path.parent) as folder:
        copy = shutil.copyfile(blank, Path(folder, "mlflow.db"))
        # Unlike a renaming, a link never takes the place of what another process has made.
        with contextlib.suppress(FileExistsError):
            os.link(copy, path)


def _make(path: Path) -> None:
    MlflowClient(tracking_uri=f"sqlite:///{path.as_posix()}")
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        # The default experiment names a folder of artifacts; MLflow makes it anew.
        connection.execute("DELETE FROM experiments")
