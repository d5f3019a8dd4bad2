"""A client of MLflow's store, what it opens, and what it raises; knows no sweep."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.running.tracking.lane import StoreError
from orchestrator.running.tracking.mlflow_blank import copy_blank_database
from orchestrator.running.tracking.sqlite import prepare_database, relax_commits
from orchestrator.running.tracking.uris import mask_credentials, sqlite_path

_LASTING_ERRORS = frozenset(
    {
        "INVALID_PARAMETER_VALUE",
        "RESOURCE_DOES_NOT_EXIST",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "CUSTOMER_UNAUTHORIZED",
        "ENDPOINT_NOT_FOUND",
        "FEATURE_DISABLED",
        "NOT_IMPLEMENTED",
    }
)
"""MLflow's codes of errors that would come again; all others are worth another try."""


def open_client(uri: str) -> MlflowClient:
    """Return a client; a database file is made if need be, and made quick enough for a tracker."""
    path = sqlite_path(uri)
    if path is None:
        return MlflowClient(tracking_uri=uri)
    # Without the copy MLflow makes its tables itself, only slower.
    with suppress(StoreError), translated():
        copy_blank_database(path)
    prepare_database(path)
    client = MlflowClient(tracking_uri=uri)
    if engine := engine_of(client):
        relax_commits(engine)
    return client


def engine_of(client: MlflowClient) -> Any:
    """Return the SQLAlchemy engine of a client, None for one that talks to a server.

    No public way leads there; without it writing is slower, and that is all.
    """
    return getattr(getattr(client._tracking_client, "store", None), "engine", None)


@contextmanager
def translated() -> Iterator[None]:
    """Turn what MLflow raises into a StoreError without credentials."""
    try:
        yield
    except MlflowException as error:
        is_temporary = error.error_code not in _LASTING_ERRORS
        raise StoreError(mask_credentials(str(error)), is_temporary=is_temporary) from None
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise StoreError(mask_credentials(str(error)), is_temporary=True) from None
