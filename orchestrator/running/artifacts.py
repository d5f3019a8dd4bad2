"""What a worker reads from the store and leaves in it; runs no stage."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from cluster.artifact import Record, StoredArtifact, StoreError
from cluster.store import Store
from cluster.worker import Notice
from orchestrator.planning.plan import PlannedStage
from orchestrator.running.checkpoint import StoreCheckpoint
from orchestrator.running.redaction import redact
from pipelines.contract import MAX_STEP, StageResult
from pipelines.labels import FIDELITY, KEPT, Fidelity, fidelity_of, weakest

Cache = Callable[[str, Callable[[], Any]], Any]
"""Returns what is made under a key, made once."""


class Artifacts:
    """The artifacts of a worker's stages.

    Args:
        location: The location of the store.
        fresh_since: Unix time in seconds; artifacts begun before it count as not there.
        notice: Tells when this process has to end soon.
    """

    def __init__(
        self, location: str, fresh_since: float = 0.0, notice: Notice | None = None
    ) -> None:
        self._store = Store(location)
        self._fresh_since = fresh_since
        self._notice = notice or Notice()

    def find(self, digests: Iterable[str]) -> dict[str, Record]:
        """Return the records of those that are there with their files.

        Raises:
            StoreError: The store cannot be read.
        """
        with _store_errors():
            found = self._store.find(digests)
            return {
                digest: record
                for digest, record in found.items()
                if record.started_at >= self._fresh_since and self._store.has_files(record)
            }

    def open(self, record: Record) -> StoredArtifact:
        """Return an artifact, to be read on demand."""
        return self._store.open(record)

    def inputs(
        self, stage: PlannedStage, records: Mapping[str, Record], cached: Cache
    ) -> dict[str, StoredArtifact]:
        """Return the inputs of a stage by role.

        Args:
            stage: The stage.
            records: The records of its inputs, among others.
            cached: Keeps what is opened, by key.
        """
        return {
            role: cached(f"{digest}/{records[digest].attempt}", partial(self.open, records[digest]))
            for role, digest in stage.inputs.items()
        }

    def checkpoint(self, digest: str) -> StoreCheckpoint:
        """Return the checkpoint of a stage."""
        return StoreCheckpoint(self._store, digest, 0, self._fresh_since, self._notice)

    def write(self, record: Record, result: StageResult) -> Record:
        """Write a result and forget how far its stage had come; return the record as written.

        Raises:
            StoreError: The store cannot be written.
        """
        with _store_errors():
            written = self._store.write(record, result.tables, result.arrays)
        self.checkpoint(record.digest).clear()
        return written

    def write_log(self, digest: str, started_at: float, text: str) -> None:
        """Keep what a stage has said, if it can be kept."""
        # A log that cannot be written must not turn a finished stage into a failed one.
        with contextlib.suppress(OSError):
            self._store.write_log(digest, started_at, redact(text))


def record_of(
    stage: PlannedStage,
    result: StageResult,
    inputs: Iterable[Record],
    *,
    own: Fidelity = Fidelity.EXACT,
    keep: frozenset[str] = frozenset(),
) -> Record:
    """Return the record of a result, without times.

    Args:
        stage: What was computed.
        result: What it gave.
        inputs: The records of the artifacts on which it rests: none is better than these.
        own: The label of the computation itself.
        keep: The extras that it has.

    Raises:
        TypeError: Its metrics are no numbers by name, or its curve has no steps; kept, they would
            fail every later reader.
    """
    value = dict(result.value)
    _check_metrics(stage.stage.name, value.get("metrics", {}))
    _check_curve(stage.stage.name, value.get("curve") or ())
    value.pop(FIDELITY, None)  # of an input whose value was taken over
    fidelity = weakest([own, *(fidelity_of(record.value) for record in inputs)])
    if keep:
        value[KEPT] = sorted(keep)
    if fidelity is not Fidelity.EXACT:
        value[FIDELITY] = fidelity.value
    return Record(
        digest=stage.digest, stage=stage.stage.name, value=value, started_at=0, duration_s=0
    )


def _check_metrics(stage: str, metrics: Any) -> None:
    if not isinstance(metrics, Mapping):
        raise TypeError(f"{stage} gave {metrics!r} as metrics; they are numbers by name")
    for name, number in metrics.items():
        if not isinstance(number, int | float):
            raise TypeError(
                f"{stage} gave {number!r} as metric {name!r}; a metric is an int or a float"
            )


def _check_curve(stage: str, curve: Iterable[Any]) -> None:
    for point in curve:
        step = point.get("step") if isinstance(point, Mapping) else None
        if not (isinstance(step, int | float) and abs(step) <= MAX_STEP):
            raise TypeError(
                f"{stage} gave {point!r} in its curve; a point is numbers by name, with a 'step' "
                "of at most 63 bits"
            )


@contextlib.contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"the store cannot be used: {error}") from error
