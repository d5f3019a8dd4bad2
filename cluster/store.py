"""The content-addressed store: artifacts by digest on one filesystem; not what they mean.

Layout under the root, the same on a laptop, S3, GCS or a shared volume:

    artifacts/ab/abcd....json           the record: its presence means that the artifact is done
    artifacts/ab/abcd..../ATTEMPT/      the files of the attempt that the record names
    logs/ab/abcd..../STARTED-ATTEMPT.txt
    sweeps/NAME/                        journal and other traces of one sweep

Every attempt writes into a folder of its own and the record is put in place last, in one
atomic step. So two writers of one digest cannot disturb each other, and a reader sees a whole
artifact or none, on a filesystem with or without rename.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import fs

from cluster.addresses import without_password
from cluster.artifact import Record, StoredArtifact, StoreError
from cluster.layout import artifact_path, files_of, logs_path, record_path

if TYPE_CHECKING:
    import numpy as np

MIN_FREE_BYTES = 64 * 2**20
"""Below this much free space a store counts as full."""

PART = ".part"
"""The end of a file's name while it is being written."""


class Store:
    """Artifacts by digest under one root.

    Args:
        location: A local path, or a URI that `pyarrow.fs` knows (`s3://bucket/path`, `gs://...`).

    Raises:
        StoreError: The location names no filesystem that can be reached.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        self._folders: set[str] = set()
        if "://" not in location:
            self._fs: fs.FileSystem = fs.LocalFileSystem(use_mmap=True)
            self.root = str(Path(location).expanduser().resolve())
        else:
            try:
                self._fs, self.root = fs.FileSystem.from_uri(location)
            except (pa.ArrowException, OSError) as error:
                fault = without_password(str(error))
                raise StoreError(f"cannot open the store {self.shown!r}: {fault}") from error
            if not self.root:
                raise StoreError(f"cannot open the store {self.shown!r}: it names no bucket")

    @property
    def shown(self) -> str:
        """The location as a message may show it: without a password."""
        return without_password(self.location)

    @property
    def is_local(self) -> bool:
        """Whether the store is a folder of this machine."""
        return isinstance(self._fs, fs.LocalFileSystem)

    @property
    def place(self) -> str:
        """The location as another process opens it: an absolute path, or the URI."""
        return self.root if self.is_local else self.location

    def check(self) -> None:
        """Write and remove a small file.

        Raises:
            StoreError: The store is not writable, or full.
        """
        probe = f"probe-{uuid.uuid4().hex}"
        try:
            self.write_bytes(probe, b"fanflare")
            self._fs.delete_file(self._path(probe))
        except OSError as error:
            raise StoreError(f"the store {self.shown!r} is not writable: {error}") from error
        if self.is_local:
            free = shutil.disk_usage(self.root).free
            if free < MIN_FREE_BYTES:
                raise StoreError(
                    f"the store {self.shown!r} is full: {free / 2**20:.0f} MiB free, "
                    f"at least {MIN_FREE_BYTES / 2**20:.0f} MiB are needed"
                )

    def present(self, digests: Iterable[str]) -> set[str]:
        """Return those of the digests that are done; reads no file."""
        return set(self._present(digests).values())

    def find(self, digests: Iterable[str]) -> dict[str, Record]:
        """Return the records of those digests that are done.

        Raises:
            StoreError: A record is damaged.
        """
        return {
            digest: self._read_record(path, digest)
            for path, digest in self._present(digests).items()
        }

    def _present(self, digests: Iterable[str]) -> dict[str, str]:
        paths = {self._path(record_path(digest)): digest for digest in digests}
        infos = self._fs.get_file_info(list(paths)) if paths else []
        return {info.path: paths[info.path] for info in infos if info.type == fs.FileType.File}

    def open(self, record: Record) -> StoredArtifact:
        """Return the artifact that a record describes."""
        return StoredArtifact(self, record)

    def write(
        self,
        record: Record,
        tables: Mapping[str, pa.Table] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> Record:
        """Write the files aside, then the record; return the record with its files filled in.

        Raises:
            OSError: The store cannot be written.
        """
        attempt = uuid.uuid4().hex if tables or arrays else ""
        base = f"{artifact_path(record.digest)}/{attempt}"
        files: dict[str, int] = {}
        for name, table in (tables or {}).items():
            files[f"{name}.arrow"] = self._write_table(f"{base}/{name}.arrow", table)
        if arrays:
            import numpy as np  # noqa: PLC0415 - numpy is not needed to plan
            from safetensors.numpy import save  # noqa: PLC0415

            # safetensors copies the memory of an array as it lies, whatever its strides say.
            content = save({name: np.asarray(array, order="C") for name, array in arrays.items()})
            self.write_bytes(f"{base}/arrays.safetensors", content)
            files["arrays.safetensors"] = len(content)
        done = replace(record, attempt=attempt, files=files)
        self.write_bytes(record_path(record.digest), _to_json(done.to_json()))
        return done

    def take(self, other: Store, record: Record, *, with_files: bool = True) -> int:
        """Copy an artifact of another store; return its size in bytes.

        Args:
            other: Where it is.
            record: Its record there.
            with_files: Whether to copy its files too, or only what the record says.

        Raises:
            StoreError: A file of it is missing or damaged.
            OSError: This store cannot be written.
        """
        base = f"{artifact_path(record.digest)}/{record.attempt}"
        for name, size in record.files.items() if with_files else ():
            with other.open_file(record.digest, record.attempt, name) as file:
                content = bytes(file.read())
            if len(content) != size:
                raise StoreError(
                    f"artifact {record.digest[:12]}: {name} in {other.shown!r} has "
                    f"{len(content)} bytes, {size} were written"
                )
            self.write_bytes(f"{base}/{name}", content)
        content = _to_json(record.to_json())
        self.write_bytes(record_path(record.digest), content)
        return len(content) + (sum(record.files.values()) if with_files else 0)

    def has_files(self, record: Record) -> bool:
        """Return whether the files of a record are here too."""
        infos = self._fs.get_file_info([self._path(path) for path in files_of(record)])
        return all(info.type == fs.FileType.File for info in infos)

    def remove(self, digest: str) -> None:
        """Remove an artifact, its record first, so that nobody finds half of it."""
        record = self._path(record_path(digest))
        if self._fs.get_file_info(record).type == fs.FileType.File:
            self._fs.delete_file(record)
        folder = self._path(artifact_path(digest))
        if self._fs.get_file_info(folder).type == fs.FileType.Directory:
            self._fs.delete_dir(folder)
        self._folders = {kept for kept in self._folders if not kept.startswith(folder)}

    def open_file(self, digest: str, attempt: str, name: str) -> Any:
        """Open one file of an artifact for random access.

        Raises:
            StoreError: The file is not there.
        """
        path = self._path(f"{artifact_path(digest)}/{attempt}/{name}")
        try:
            return self._fs.open_input_file(path)
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error}") from error

    def write_log(self, digest: str, started_at: float, text: str) -> None:
        """Keep what one attempt at a stage printed."""
        name = f"{started_at:017.6f}-{uuid.uuid4().hex[:8]}.txt"
        self.write_bytes(f"{logs_path(digest)}/{name}", text.encode())

    def read_logs(self, digest: str) -> list[str]:
        """Return what every attempt at a stage printed, oldest first."""
        return [
            self.read_bytes(path).decode(errors="replace")
            for path in self.list_files(logs_path(digest))
        ]

    def list_files(self, folder: str) -> list[str]:
        """Return the paths, relative to the root, of the files in a folder, sorted by name.

        What a writer that was killed has left half is not listed.
        """
        selector = fs.FileSelector(self._path(folder), allow_not_found=True)
        return sorted(
            f"{folder}/{info.base_name}"
            for info in self._fs.get_file_info(selector)
            if info.type == fs.FileType.File and not info.base_name.endswith(PART)
        )

    def list_folders(self, folder: str) -> list[str]:
        """Return the names of the folders in a folder, sorted."""
        selector = fs.FileSelector(self._path(folder), allow_not_found=True)
        return sorted(
            info.base_name
            for info in self._fs.get_file_info(selector)
            if info.type == fs.FileType.Directory
        )

    def read_bytes(self, path: str) -> bytes:
        """Return the content of a file under the root."""
        with self._fs.open_input_file(self._path(path)) as file:
            return bytes(file.read())

    def write_bytes(self, path: str, content: bytes) -> None:
        """Put a whole file in place in one atomic step."""
        target = self._path(path)
        self._make_folder(target.rpartition("/")[0])
        if not self.is_local:  # an object store shows an object only when it is whole
            with self._fs.open_output_stream(target) as stream:
                stream.write(content)
            return
        aside = Path(f"{target}.{uuid.uuid4().hex}{PART}")
        try:
            aside.write_bytes(content)
            aside.replace(target)
        except OSError:
            aside.unlink(missing_ok=True)
            raise

    def _write_table(self, path: str, table: pa.Table) -> int:
        target = self._path(path)
        self._make_folder(target.rpartition("/")[0])
        with (
            self._fs.open_output_stream(target) as stream,
            pa.ipc.new_file(stream, table.schema) as writer,
        ):
            writer.write_table(table)
        return int(self._fs.get_file_info(target).size)

    def _read_record(self, path: str, digest: str) -> Record:
        with self._fs.open_input_file(path) as file:
            content = bytes(file.read())
        try:
            return Record.from_json(json.loads(content))
        except (ValueError, TypeError, AttributeError) as error:
            raise StoreError(
                f"the record of artifact {digest[:12]} is damaged: {error}; delete {path}"
            ) from error

    def _make_folder(self, folder: str) -> None:
        if folder not in self._folders:
            self._fs.create_dir(folder, recursive=True)
            self._folders.add(folder)

    def _path(self, path: str) -> str:
        return f"{self.root}/{path}"


def _to_json(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
