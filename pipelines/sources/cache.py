"""The folder of downloads and how processes share it; not what is in it."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = "partial-"
"""The prefix of folders that are still being filled."""


def cache_folder() -> Path:
    """Return the folder of downloads: `FANFLARE_CACHE`, else the user's own cache folder."""
    chosen = os.environ.get("FANFLARE_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    # Late, because a worker that is told its cache folder need not have this library.
    from platformdirs import user_cache_path  # noqa: PLC0415

    return user_cache_path("fanflare")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder of the cache for this process; others wait.

    What an interrupted process left half done is removed first.
    """
    from filelock import FileLock  # noqa: PLC0415 - 20 ms that a plan from the cache saves

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        for leftover in folder.glob(PARTIAL + "*"):
            shutil.rmtree(leftover)
        yield


@contextmanager
def partial(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside the finished ones, removed at the end unless renamed away."""
    path = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=folder))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def made_once(path: Path, make: Callable[[Path], None]) -> Path:
    """Return a file of the cache, made by one process, once; others wait.

    Args:
        path: The file.
        make: Makes it at the path that it is given.
    """
    if not path.exists():
        with locked(path.parent), partial(path.parent) as folder:
            if not path.exists():
                make(folder / path.name)
                (folder / path.name).rename(path)
    return path


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
