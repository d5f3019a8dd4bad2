"""Brings a sweep's results from its store to this machine; computes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cluster.store import Store
from orchestrator.errors import SubmissionError
from orchestrator.running.saved_sweep import bundle_around, bundle_path
from orchestrator.running.session import report
from orchestrator.running.workspace import Workspace


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
) -> Pulled:
    """Copy a sweep to a store on this machine, and write its report there.

    What is there already is not copied again, so the same call brings what is new.

    Args:
        workspace: The sweep, opened over the store that has the results.
        folder: The store on this machine.
        everything: Whether to bring the files of all stages, weights and features too; else
            those of every trial's last stage, and of the others what is known of them.
        observer: Called with how many stages of how many are there.

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
    num_copied = size_bytes = 0
    for done, (digest, record) in enumerate(records.items(), start=1):
        wants_files = everything or digest in results
        if digest not in known or (wants_files and not target.has_files(known[digest])):
            size_bytes += target.take(source, record, with_files=wants_files)
            num_copied += 1
        observer(done, len(records))
    for name in _traces(workspace):
        content = source.read_bytes(name)
        target.write_bytes(name, content)
        size_bytes += len(content)
    report_path = folder / "sweeps" / workspace.sweep.name / "report.html"
    report_path.write_text(page(report(workspace.sweep.name, store=str(folder))), encoding="utf-8")
    return Pulled(
        sweep=workspace.sweep.name,
        store=str(folder),
        num_results=len(records),
        num_copied=num_copied,
        size_bytes=size_bytes,
        report=str(report_path),
    )


def _traces(workspace: Workspace) -> list[str]:
    """Return the files that tell the history of the sweep, and the bundle that opens it."""
    store, folder = workspace.store, f"sweeps/{workspace.sweep.name}"
    files = [*store.list_files(folder), *store.list_files(f"{folder}/journal")]
    found = [name for name in files if name.endswith((".json", ".jsonl"))]
    found = [name for name in found if not name.endswith(("/driver.json", "/submission.json"))]
    if around := bundle_around(workspace.file.path):
        found.append(bundle_path(around[1]))
    return found
