"""Fetches a bundle and unpacks it, before anything of it can be imported.

Sent as text and run by `python -c TEXT SOURCE DIGEST FOLDER` in an image that has only Ray and
pyarrow: it imports nothing of its own house.
"""

import hashlib
import io
import os
import shutil
import sys
import zipfile
from pathlib import Path


def fetch(source: str) -> bytes:
    """Return the bytes of a local file, or of an object that `pyarrow.fs` reaches."""
    if "://" not in source:
        return Path(source).read_bytes()
    from pyarrow import fs  # noqa: PLC0415 - not needed for a file

    filesystem, path = fs.FileSystem.from_uri(source)
    with filesystem.open_input_file(path) as file:
        return bytes(file.read())


def unpack(content: bytes, digest: str, folder: Path) -> None:
    """Write the files of a zip below a folder, all or none.

    Raises:
        ValueError: The content is not what the digest says.
    """
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise ValueError(f"the bundle has digest {found}, {digest} was sent")
    aside = folder.with_name(f"{folder.name}.{os.getpid()}")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(aside)
    for path in aside.iterdir():
        target = folder / path.name
        if not target.exists():
            folder.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    shutil.rmtree(aside, ignore_errors=True)


if __name__ == "__main__":
    unpack(fetch(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
