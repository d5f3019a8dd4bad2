"""Which of the user's files a command rests on, and their digests; reads bytes, runs nothing."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path

from pipelines.contract import InputError, digest_of
from pipelines.sources.local import file_digest, found_files

_SHELL = re.compile(r"(?:.*/)?\w*sh")
_PROGRAM = re.compile(r"-[a-z]*c")
"""A flag of a shell after which a program stands; others may be joined to it, as in `-lc`."""
_MODULE = re.compile(r"-[a-zA-Z]*?m ?(\S+)")
"""Python's flag and the module after it, as in `-m module`, `-um module` and `-mmodule`."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """The pinned source of a trial: the files of its command, and what changes no result."""

    name: str
    """What people would call it: the first file named in the command, or the program."""
    folder: Path
    """Where relative paths in the sweep file begin."""
    files: Mapping[Path, str]
    """The SHA-256 of each file as it was when the sweep was planned."""
    timeout_s: float | None = None

    @cached_property
    def digest(self) -> str:
        """The digest of the files' names and content; of a file outside `folder` its last name."""
        names = {path: self._name(path) for path in self.files}
        return digest_of(sorted([names[path], digest] for path, digest in self.files.items()))

    def _name(self, path: Path) -> str:
        return (
            path.relative_to(self.folder).as_posix()
            if path.is_relative_to(self.folder)
            else path.name
        )

    def check(self) -> None:
        """Make sure that the files still are what this trial is known by.

        Raises:
            InputError: One of them has changed since the sweep was planned, or is gone.
        """
        for path, digest in self.files.items():
            if not path.is_file() or file_digest(path) != digest:
                raise InputError(
                    f"{path.name} has changed since the sweep was planned; run the sweep again. "
                    "A file that the command itself writes belongs into {output_dir}",
                    key="command",
                )


def digests(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the SHA-256 of files by their path."""
    found = {}
    for path in paths:
        state = path.stat()
        found[path] = _digest(path, state.st_size, state.st_mtime_ns)
    return found


@lru_cache(maxsize=4096)
def _digest(path: Path, size: int, mtime_ns: int) -> str:
    """Read a file once for all trials of a sweep."""
    del size, mtime_ns  # a file that has changed is another key
    return file_digest(path)


def named_files(words: Sequence[str], folder: Path) -> list[Path]:
    """Return the files that exist and that the words of a command name, programs on PATH aside."""
    opened = list(_opened(words))
    paths = (
        Path(os.path.normpath(folder / name))
        for position, word in enumerate(opened)
        if position > 0 or "/" in word
        for name in _names(word, opened[position - 1] if position else "")
    )
    return [path for path in dict.fromkeys(paths) if _is_file(path)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a word that is no name of a file, as a program for `bash -c`, may be too long
        return False


def _opened(words: Sequence[str]) -> Iterator[str]:
    """Yield the words of a command, and after the program of a shell those of this program."""
    is_shell = False
    for before, word in pairwise(["", *words]):
        yield word
        is_shell = is_shell or _SHELL.fullmatch(word) is not None
        if is_shell and _PROGRAM.fullmatch(before):
            yield from _read_by(word)


def _read_by(program: str) -> Iterator[str]:
    """Yield the words of a shell's program, but for the files into which it writes."""
    lexer = shlex.shlex(program, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    with contextlib.suppress(ValueError):  # a quote that is not closed: the shell will say so
        for before, word in pairwise(["", *lexer]):
            if ">" not in before:
                yield word


def _names(word: str, before: str) -> Iterator[str]:
    """Yield what a word may name: a file, the value of an option, the module after `-m`."""
    yield word
    if "=" in word:
        yield word.partition("=")[2]
    if named := _MODULE.fullmatch(f"{before} {word}") or _MODULE.fullmatch(word):
        module = named[1].replace(".", "/")
        yield from (f"{module}.py", f"{module}/__init__.py", f"{module}/__main__.py")


def matching_files(pattern: str, folder: Path) -> list[Path]:
    """Return the files that match a pattern; hidden ones only where it names them.

    Raises:
        InputError: There are none.
    """
    root = Path("/") if pattern.startswith("/") else folder
    files = found_files(root, pattern.lstrip("/"))
    found = sorted(Path(os.path.normpath(path)) for path in files)
    if not found:
        raise InputError(f"no file matches {pattern!r} in {folder}", key="files")
    return found
