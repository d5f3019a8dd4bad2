"""A program with its files as one content-addressed zip; knows neither sweeps nor places."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every file in the zip, so that equal content gives equal bytes."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Files by their path below one folder."""

    files: Mapping[str, bytes]

    @cached_property
    def content(self) -> bytes:
        """The zip: of equal files always the same bytes."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for path in sorted(self.files):
                archive.writestr(_entry(path), self.files[path])
        return buffer.getvalue()

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the zip."""
        return hashlib.sha256(self.content).hexdigest()

    def unpack(self, folder: Path) -> None:
        """Write the files below a folder."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def package_files(names: Iterable[str]) -> dict[str, bytes]:
    """Return the files of installed packages as they are imported now, by path.

    Caches and hidden files are left out.

    Raises:
        ModuleNotFoundError: There is no such package.
    """
    found: dict[str, bytes] = {}
    for name in names:
        spec = find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError(f"no package {name!r}")
        root = Path(next(iter(spec.submodule_search_locations)))
        for path in sorted(root.rglob("*")):
            inside = path.relative_to(root)
            if path.is_file() and not any(_is_passing(part) for part in inside.parts):
                found[f"{name}/{inside.as_posix()}"] = path.read_bytes()
    return found


def _entry(path: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(path, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _is_passing(part: str) -> bool:
    return part == "__pycache__" or part.startswith(".")
