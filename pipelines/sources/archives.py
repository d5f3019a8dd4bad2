"""Take chosen files out of a wheel or sdist safely; knows nothing of where archives come from."""

from __future__ import annotations

import difflib
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from pipelines.contract import InputError

SDIST_SUFFIXES = (".tar.gz", ".tar.bz2", ".zip")


@dataclass(frozen=True)
class Archive:
    """An open zip or tar file, with one pair of verbs for both."""

    file: zipfile.ZipFile | tarfile.TarFile

    def names(self) -> list[str]:
        """Return the names of all entries but folders."""
        if isinstance(self.file, zipfile.ZipFile):
            return [entry.filename for entry in self.file.infolist() if not entry.is_dir()]
        return [entry.name for entry in self.file.getmembers() if not entry.isdir()]

    def open(self, name: str) -> IO[bytes]:
        """Open a plain file of the archive.

        Raises:
            InputError: The entry is a link or a device, whose target may be anywhere.
        """
        if isinstance(self.file, zipfile.ZipFile):
            is_link = stat.S_ISLNK(self.file.getinfo(name).external_attr >> 16)
            stream = None if is_link else self.file.open(name)
        else:
            is_plain = self.file.getmember(name).isreg()
            stream = self.file.extractfile(name) if is_plain else None
        if stream is None:
            raise InputError(f"{name} in the archive is not a plain file; it is refused")
        return stream


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open a zip (also a wheel) or a tar file, compressed or not.

    Raises:
        InputError: The file is neither, or it is damaged.
    """
    try:
        is_zip = path.name.endswith((".whl", ".zip"))
        file = zipfile.ZipFile(path) if is_zip else tarfile.open(path)  # noqa: SIM115
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise InputError(f"{path.name} is not a readable archive: {error}") from error
    with file:
        yield Archive(file)


def extract(archive: Path, patterns: Iterable[str], target: Path) -> None:
    """Copy the files that match any pattern into `target`, under their names in the archive.

    A pattern is a path, a folder (all below it), or a glob whose `*` stays within one folder.
    The single top folder of an sdist, `PACKAGE-VERSION/`, is left out of the names.

    Raises:
        InputError: A pattern matches nothing, or a name would lead out of `target`.
    """
    is_sdist = archive.name.endswith(SDIST_SUFFIXES)
    with opened(archive) as source:
        entries = {name.split("/", 1)[-1] if is_sdist else name: name for name in source.names()}
        for pattern in patterns:
            chosen = [name for name in entries if _matches(name, pattern)]
            if not chosen:
                raise _nothing_matches(archive.name, pattern, entries)
            for name in chosen:
                path = _inside(target, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                with source.open(entries[name]) as stream, path.open("wb") as file:
                    shutil.copyfileobj(stream, file)


def _matches(name: str, pattern: str) -> bool:
    path, glob = PurePosixPath(name), PurePosixPath(pattern)
    if len(path.parts) == len(glob.parts):
        return path.match(pattern)
    return path.is_relative_to(glob)


def _inside(target: Path, name: str) -> Path:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in parts[0]:
        raise InputError(f"the archive names a file outside of itself, {name!r}; it is refused")
    return target.joinpath(*parts)


def _nothing_matches(archive: str, pattern: str, names: Collection[str]) -> InputError:
    folders = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    near = difflib.get_close_matches(pattern, [*names, *folders], n=1, cutoff=0.5)
    hint = f"; the nearest is {near[0]}" if near else ""
    return InputError(
        f"{archive} holds no {pattern}{hint}", key="source", nearest=near[0] if near else ""
    )
