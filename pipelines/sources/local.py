"""The digests of the user's own files and folders; reads bytes, never what they mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from pipelines.contract import InputError, digest_of
from pipelines.sources.cache import cache_folder, sha256_of

NOTED_BYTES = 4 << 20
"""Files from this size on have their digest noted in the cache; smaller ones hash in 3 ms."""


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file; of a large file from a note, while size and time agree."""
    state = path.stat()
    if state.st_size < NOTED_BYTES:
        return sha256_of(path)
    key = [str(path.resolve()), state.st_size, state.st_mtime_ns]
    note = cache_folder() / "digests" / f"{digest_of(key)}.json"
    if note.exists():
        return str(json.loads(note.read_text())["sha256"])
    digest = sha256_of(path)
    note.parent.mkdir(parents=True, exist_ok=True)
    aside = note.with_name(f"{note.name}.{digest[:8]}")
    aside.write_text(json.dumps({"path": key[0], "sha256": digest}))
    aside.replace(note)
    return digest


def folder_digest(folder: Path) -> str:
    """Return the digest of a folder's content: names and bytes of all files below it.

    Hidden files and Markdown are left out: a `.git` folder or a model card change no result.
    """
    files = (path for path in found_files(folder, "**/*") if path.suffix != ".md")
    return digest_of({path.relative_to(folder).as_posix(): file_digest(path) for path in files})


def matching(root: Path, pattern: str) -> list[Path]:
    """Return the files of a source that match a path or glob pattern, in the order of names.

    Raises:
        InputError: There are none.
    """
    if root.is_file():
        return [root]
    files = found_files(root, pattern)
    if not files:
        raise InputError(f"no file in {root} matches {pattern!r}", key="source")
    return files


def found_files(root: Path, pattern: str) -> list[Path]:
    """Return the files of a folder that match a pattern, in the order of names; maybe none.

    As in a shell, a hidden file or folder is matched only by a part of the pattern that begins with
    a dot itself. Editors and systems leave copies of data behind, as
    `.ipynb_checkpoints/train-checkpoint.csv` or `._train.csv`, and `.env` or `.git` may hold what
    is not to be sent anywhere.
    """
    dotted = [part for part in PurePosixPath(pattern).parts if part.startswith(".")]

    def is_meant(name: str) -> bool:
        return not name.startswith(".") or any(fnmatchcase(name, part) for part in dotted)

    return sorted(
        path
        for path in root.glob(pattern)
        if path.is_file() and all(is_meant(name) for name in path.relative_to(root).parts)
    )


def path_digest(root: Path, paths: Mapping[str, str]) -> str:
    """Return the digest of a local source.

    Args:
        root: A file, or a folder.
        paths: Patterns by split; none for a model, whose whole folder counts.

    Returns:
        The plain SHA-256 of a single file; else a digest of all files' digests by split. The
        files' names and places do not enter, but for the folder of a file where the pattern
        leaves it open, as `train/*/*.png` does: it may be the file's class.

    Raises:
        InputError: A pattern matches nothing.
    """
    if root.is_dir() and not paths:
        return folder_digest(root)
    digests = {
        split: [_content(path, pattern) for path in matching(root, pattern)]
        for split, pattern in paths.items()
    }
    if not digests:
        return file_digest(root)
    if len(digests) == 1 and all(len(files) == 1 for files in digests.values()):
        return next(iter(digests.values()))[0]
    return digest_of(digests)


def _content(path: Path, pattern: str) -> str:
    digest = file_digest(path)
    is_open = "*" in PurePosixPath(pattern).parent.name.replace("**", "")
    return digest_of([path.parent.name, digest]) if is_open else digest
