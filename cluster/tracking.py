"""What MLflow's tracking URI has to be for a program on other machines; reaches no server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from cluster.addresses import has_password, is_this_machine, without_password
from cluster.target import Problem

_REMEDY = (
    "give `tracking_uri` in the profile a server that is reached from there, as "
    "`http://mlflow.mlflow:5000`; or track nothing there, `pull` the results and write them "
    "here with `fanflare sync`"
)


def tracking_problems(uri: str | None) -> Iterator[Problem]:
    """Yield why a program on other machines could not, or must not, use a tracking URI."""
    if uri is None or uri.startswith("databricks"):
        return
    parts = urlsplit(uri)
    shown, fault = uri, ""
    if has_password(uri):
        shown = without_password(re.sub(r"://\S*@", "://***@", uri))
        fault = "holds a password, which would travel with the sweep and stay in its store"
    elif parts.scheme in ("", "file"):
        fault = "is a folder: every machine has its own, and this one would see none"
    elif parts.scheme.startswith("sqlite"):
        fault = "is a file of SQLite: it is on one machine only, and takes one writer"
    elif is_this_machine(parts.hostname):
        fault = f"names this machine: elsewhere {parts.hostname!r} is another"
    if fault:
        yield Problem(subject="tracking_uri", message=f"{shown!r} {fault}", remedy=_REMEDY)
