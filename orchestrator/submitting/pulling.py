"""Brings a sweep's results from its store to this machine; computes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.artifact import Record, StoreError
from cluster.layout import files_of
from cluster.store import Store
from orchestrator.errors import SubmissionError
from orchestrator.running.past import report
from orchestrator.running.saved_sweep import bundle_path, saved_bundle, saved_id
from orchestrator.running.workspace import Workspace
from orchestrator.submitting.reading import Fetch

BATCH_BYTES = 256 * 2**20
BATCH_RESULTS = 1000
"""So much is fetched at once: a stream that is cut loses little, and many small files are few
requests."""


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What was brought."""

    sweep: str
    store: str
    """The store to which it was brought."""
    num_results: int
    """Stages whose results are there now."""
    num_copied: int
    """Those of them that were not there before."""
    size_bytes: int
    """What was copied."""
    report: str
    """The page with the comparison."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the keys are documented in docs/json.md."""
        return asdict(self)


def pull(
    workspace: Workspace,
    folder: Path,
    *,
    everything: bool = False,
    observer: Callable[[int, int], None] = lambda done, total: None,
    fetch: Fetch | None = None,
) -> Pulled:
    """Copy a sweep to a store on this machine, and write its report there.

    What is there already is not copied again, so the same call brings what is new.

    Args:
        workspace: The sweep, opened over the store that has the results.
        folder: The store on this machine.
        everything: Whether to bring the files of all stages, weights and features too; else
            those of every trial's last stage, and of the others what is known of them.
        observer: Called with how many stages of how many are there.
        fetch: How files come where the workspace's store has records only; None where it has all.

    Raises:
        SubmissionError: It is the same store.
        StoreError: A store cannot be read or written.
    """
    source, target = workspace.store, Store(str(folder))
    if source.location == target.location or source.root == target.root:
        raise SubmissionError(f"the results are in {source.shown!r} already")
    from orchestrator.comparing.page.page import page  # noqa: PLC0415 - loads plotly's script

    target.check()
    records = source.find(workspace.nodes)
    known = target.find(records)
    results = {trial.result_digest for trial in workspace.trials}
    wanted = [
        _Wanted(record=record, with_files=everything or digest in results)
        for digest, record in records.items()
    ]
    missing = [each for each in wanted if not each.is_in(target, known)]
    done, size_bytes = len(records) - len(missing), 0
    observer(done, len(records))
    for batch in _batches(missing) if fetch is not None else ([each] for each in missing):
        size_bytes += _copy(batch, source, target, fetch)
        done += len(batch)
        observer(done, len(records))
    own_id = saved_id(target, workspace.sweep.name)
    for name in _traces(workspace):
        content = source.read_bytes(name)
        if own_id and name.endswith("/sweep.json"):
            content = _with_id(content, own_id)
        target.write_bytes(name, content)
        size_bytes += len(content)
    report_path = folder / "sweeps" / workspace.sweep.name / "report.html"
    report_path.write_text(page(report(workspace.sweep.name, store=str(folder))), encoding="utf-8")
    return Pulled(
        sweep=workspace.sweep.name,
        store=str(folder),
        num_results=len(records),
        num_copied=len(missing),
        size_bytes=size_bytes,
        report=str(report_path),
    )


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """A result, and how much of it is wanted."""

    record: Record
    with_files: bool

    def is_in(self, target: Store, known: Mapping[str, Record]) -> bool:
        there = known.get(self.record.digest)
        return there is not None and (not self.with_files or target.has_files(there))

    @property
    def size_bytes(self) -> int:
        return sum(self.record.files.values()) if self.with_files else 0


def _batches(wanted: Iterable[_Wanted]) -> Iterator[list[_Wanted]]:
    """Yield results in groups that are fetched at once; a group is never empty."""
    batch: list[_Wanted] = []
    size_bytes = 0
    for each in wanted:
        batch.append(each)
        size_bytes += each.size_bytes
        if size_bytes >= BATCH_BYTES or len(batch) >= BATCH_RESULTS:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch


def _copy(batch: Sequence[_Wanted], source: Store, target: Store, fetch: Fetch | None) -> int:
    """Copy results, their files before their records; return the bytes copied."""
    size_bytes = 0
    if fetch is not None:
        paths = [path for each in batch if each.with_files for path in files_of(each.record)]
        size_bytes += fetch(paths, Path(target.root)) if paths else 0
    for each in batch:
        if fetch is not None and each.with_files and not target.has_files(each.record):
            raise StoreError(f"the files of artifact {each.record.digest[:12]} are not there")
        with_files = each.with_files and fetch is None
        size_bytes += target.take(source, each.record, with_files=with_files)
    return size_bytes


def _with_id(content: bytes, own_id: str) -> bytes:
    """Return a sweep's file under the id by which MLflow knows the runs of the store it comes to.

    With the other's id the next `run` or `sync` here would make all of these runs once more.
    """
    return json.dumps({**json.loads(content), "id": own_id}, indent=1).encode()


def _traces(workspace: Workspace) -> list[str]:
    """Return the files that tell the history of the sweep, and the bundle that opens it."""
    store, folder = workspace.store, f"sweeps/{workspace.sweep.name}"
    files = [*store.list_files(folder), *store.list_files(f"{folder}/journal")]
    found = [name for name in files if name.endswith((".json", ".jsonl"))]
    found = [name for name in found if not name.endswith(("/driver.json", "/submission.json"))]
    bundle = bundle_path(saved_bundle(store, workspace.sweep.name))
    return found + [name for name in store.list_files("bundles") if name == bundle]
