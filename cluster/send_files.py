"""Sends files below a folder as a tar stream; knows no store, and follows no link.

Sent as text and run by `python -I -c TEXT FOLDER` in a pod that mounts a volume: it imports nothing
of its own house. One line of JSON on standard input says what is wanted, `{"paths": [...],
"known": {path: [size, mtime]}}`. A path is that of a file, or of all files of one folder that end
alike, as `folder/*.json`. On standard output comes a packed tar stream: first `GONE_MEMBER`, a JSON
list of those known files that are here no more, then the files that are not known as they are here.
"""

import gzip
import io
import json
import os
import stat
import sys
import tarfile
from collections.abc import Iterator

GONE_MEMBER = "gone.json"


def main() -> None:
    """Answer what standard input asks."""
    root = os.path.realpath(sys.argv[1])
    asked = json.loads(sys.stdin.readline())
    names = dict.fromkeys(name for path in asked["paths"] for name in matching(root, path))
    found = {name: seen for name in names if (seen := look(root, name))}
    packed = gzip.GzipFile(fileobj=sys.stdout.buffer, mode="wb", compresslevel=1)
    with packed, tarfile.open(fileobj=packed, mode="w|") as archive:
        gone = json.dumps([name for name in asked["known"] if name not in found]).encode()
        about = tarfile.TarInfo(GONE_MEMBER)
        about.size = len(gone)
        archive.addfile(about, io.BytesIO(gone))
        for name, seen in found.items():
            if asked["known"].get(name) != [seen.st_size, int(seen.st_mtime)]:
                send(archive, root, name)


def matching(root: str, path: str) -> Iterator[str]:
    """Yield the names, below the root, of the files that a path may mean."""
    folder, _, last = path.rpartition("/")
    if not last.startswith("*"):
        yield path
        return
    try:
        present = sorted(os.listdir(os.path.join(root, folder)))  # noqa: PTH118, PTH208
    except FileNotFoundError:
        return
    yield from (f"{folder}/{name}" for name in present if name.endswith(last[1:]))


def look(root: str, name: str) -> "os.stat_result | None":
    """Return what a file is like; None where there is none, or a link on the way to it."""
    path = os.path.join(root, name)  # noqa: PTH118 - as text, that `..` stands out
    if os.path.realpath(path) != path:
        return None
    try:
        seen = os.lstat(path)
    except FileNotFoundError:
        return None
    return seen if stat.S_ISREG(seen.st_mode) else None


def send(archive: tarfile.TarFile, root: str, name: str) -> None:
    """Write a file as it is now: a journal that grows meanwhile is sent up to here."""
    try:
        number = os.open(os.path.join(root, name), os.O_RDONLY | os.O_NOFOLLOW)  # noqa: PTH118
    except FileNotFoundError:
        return  # replaced or removed since it was looked at
    with open(number, "rb") as file:  # noqa: PTH123 - an open file, no path
        about = tarfile.TarInfo(name)
        seen = os.fstat(number)
        about.size, about.mtime = seen.st_size, int(seen.st_mtime)
        archive.addfile(about, file)


if __name__ == "__main__":
    main()
