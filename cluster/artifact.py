"""What a stage leaves behind, read back: record, tables, arrays; not where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from cluster.usage import Usage

if TYPE_CHECKING:
    import numpy as np


class StoreError(Exception):
    """The store cannot be used, or an artifact is damaged; the message says which and why."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of a finished artifact without opening its files."""

    digest: str
    stage: str
    value: Mapping[str, Any]
    started_at: float
    """Unix time in seconds."""
    duration_s: float
    attempt: str = ""
    """The folder of its files; empty where there are none."""
    files: Mapping[str, int] = field(default_factory=dict)
    """Size in bytes by file name."""
    usage: Usage | None = None
    """What computing it used; None where it was not measured."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the value in it is the record's own."""
        return {**vars(self), "usage": asdict(self.usage) if self.usage else None}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Record:
        """Read what :meth:`to_json` returned.

        Raises:
            TypeError: It has other keys than a record has.
        """
        usage = content.get("usage")
        return cls(**{**content, "usage": usage and Usage(**usage)})


class Files(Protocol):
    """Where the files of an artifact lie."""

    def open_file(self, digest: str, attempt: str, name: str) -> Any:
        """Open one file of an artifact for random access.

        Raises:
            StoreError: The file is not there.
        """


class StoredArtifact:
    """A finished artifact, its files read on demand."""

    def __init__(self, store: Files, record: Record) -> None:
        self._store = store
        self.record = record

    @property
    def value(self) -> Mapping[str, Any]:
        """The JSON value of the result."""
        return self.record.value

    def table(self, name: str) -> pa.Table:
        """Return the Arrow table of that name; memory-mapped on a local disk.

        Raises:
            StoreError: The artifact has no such table, or its file is damaged.
        """
        with self._open(f"{name}.arrow") as file:
            try:
                return pa.ipc.open_file(file).read_all()
            except (pa.ArrowException, OSError) as error:
                raise self._damaged(f"{name}.arrow", error) from error

    def array(self, name: str) -> np.ndarray:
        """Return the array of that name.

        Raises:
            StoreError: The artifact has no such array, or its file is damaged.
        """
        if name not in self.arrays:
            raise StoreError(f"artifact {self.record.digest[:12]} has no array {name!r}")
        return self.arrays[name]

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name; of an artifact without arrays, none.

        Raises:
            StoreError: The file is damaged.
        """
        if "arrays.safetensors" not in self.record.files:
            return {}
        from safetensors import SafetensorError  # noqa: PLC0415 - numpy is not needed to plan
        from safetensors.numpy import load  # noqa: PLC0415

        with self._open("arrays.safetensors") as file:
            try:
                arrays: dict[str, np.ndarray] = load(file.read())
            except (SafetensorError, OSError) as error:
                raise self._damaged("arrays.safetensors", error) from error
        return arrays

    def _damaged(self, name: str, error: Exception) -> StoreError:
        return StoreError(f"artifact {self.record.digest[:12]}: {name} is damaged: {error}")

    def _open(self, name: str) -> Any:
        expected = self.record.files.get(name)
        if expected is None:
            raise StoreError(f"artifact {self.record.digest[:12]} has no file {name!r}")
        file = self._store.open_file(self.record.digest, self.record.attempt, name)
        if file.size() != expected:
            raise StoreError(
                f"artifact {self.record.digest[:12]}: {name} has {file.size()} bytes, "
                f"{expected} were written"
            )
        return file
