"""Takes the files of a tar stream into a folder, and trusts none of their names; knows no cluster.

The other end is `cluster.send_files`.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tarfile
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from cluster.send_files import GONE_MEMBER
from cluster.store import PART

Known = Mapping[str, tuple[int, int]]
"""Files that are here: their names -> size in bytes, time of change in Unix seconds."""


class HostileStreamError(Exception):
    """The stream holds what nobody asked for."""


class BrokenStreamError(Exception):
    """The stream ends too early, or is damaged; the files before stand."""


def known_files(folder: Path, paths: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return which of the wanted files are in a folder.

    Args:
        folder: Where they are taken to.
        paths: Those of files, or of all files of one folder that end alike, as `folder/*.json`.
    """
    known = {}
    for path in paths:
        parent, _, last = path.rpartition("/")
        found = (folder / parent).glob(last) if last.startswith("*") else [folder / path]
        for file in found:
            if file.is_file():
                seen = file.stat()
                name = file.relative_to(folder).as_posix()
                known[name] = (seen.st_size, int(seen.st_mtime))
    return known


def take_files(
    stream: IO[bytes], folder: Path, paths: Sequence[str], known: Known
) -> Iterator[int]:
    """Put the files of a stream in place, each whole, and yield their sizes in bytes.

    A file that is gone where they come from is removed here.

    Args:
        stream: The packed tar stream.
        folder: Where they are taken to.
        paths: What was asked for.
        known: What was here already.

    Raises:
        HostileStreamError: It holds a name that was not asked for, or no plain file.
        BrokenStreamError: It ends too early, or is damaged.
    """
    is_wanted = _Wish(paths)
    try:
        with (
            gzip.GzipFile(fileobj=stream, mode="rb") as packed,
            tarfile.open(fileobj=packed, mode="r|") as archive,
        ):
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                if content is not None and member.name == GONE_MEMBER:
                    _remove(folder, known.keys() & set(json.load(content)))
                elif content is None or not is_wanted(member.name):
                    raise HostileStreamError(f"{member.name!r} was not asked for")
                else:
                    tarfile.data_filter(member, str(folder))
                    _put(content, folder / member.name, member)
                    yield member.size
            packed.read()  # to the end, where the checksum is
    except tarfile.FilterError as error:
        raise HostileStreamError(str(error)) from error
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:
        raise BrokenStreamError(str(error)) from error


class _Wish:
    """Tells whether a name was asked for."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._names = set(paths)
        self._endings = [_split(path) for path in paths if _split(path)[1].startswith("*")]

    def __call__(self, name: str) -> bool:
        folder, last = _split(name)
        if ".." in name.split("/"):
            return False  # whoever wrote a record may have written that, too
        return name in self._names or any(
            folder == place and last.endswith(ending[1:]) for place, ending in self._endings
        )


def _remove(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)


def _put(content: IO[bytes], target: Path, member: tarfile.TarInfo) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f"{target.name}.{uuid.uuid4().hex}{PART}")
    try:
        with aside.open("wb") as file:
            shutil.copyfileobj(content, file, 2**20)
        if aside.stat().st_size != member.size:
            raise BrokenStreamError(f"{member.name} was cut")
        os.utime(aside, (member.mtime, member.mtime))
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def _split(path: str) -> tuple[str, str]:
    parent, _, last = path.rpartition("/")
    return parent, last
