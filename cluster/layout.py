"""Where things lie in a store, as paths below its root; reads and writes nothing."""

from __future__ import annotations

from cluster.artifact import Record


def artifact_path(digest: str) -> str:
    """Return the folder of an artifact, with a folder for each attempt at it."""
    return f"artifacts/{digest[:2]}/{digest}"


def record_path(digest: str) -> str:
    """Return the file whose presence says that an artifact is done."""
    return f"{artifact_path(digest)}.json"


def files_of(record: Record) -> list[str]:
    """Return the files of the attempt that a record names."""
    base = f"{artifact_path(record.digest)}/{record.attempt}"
    return [f"{base}/{name}" for name in record.files]


def logs_path(digest: str) -> str:
    """Return the folder with what the attempts at a stage have printed, a file each."""
    return f"logs/{digest[:2]}/{digest}"
