"""Runs a sweep that was sent, on the machine to which it was sent; submits nothing."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path

from cluster.artifact import StoreError
from cluster.bundle import Bundle
from cluster.store import Store
from orchestrator.comparing.report import Report
from orchestrator.errors import SubmissionError
from orchestrator.planning.sweep_file import SweepFile
from orchestrator.planning.trial import ids_digest
from orchestrator.running.options import RayCluster, RunOptions
from orchestrator.running.progress import Observer
from orchestrator.running.right_to_drive import WAIT_FOR_LOST_S
from orchestrator.running.saved_sweep import BUNDLE_NOTE, keep_bundle
from orchestrator.running.session import run_opened
from orchestrator.running.workspace import open_sweep
from orchestrator.submitting.request import REQUEST_FILE, Request


def drive(root: Path, observer: Observer) -> Report:
    """Run the sweep of an unpacked bundle.

    Args:
        root: The folder of the bundle.
        observer: Who watches.

    Raises:
        SubmissionError: What lies there is another sweep than was sent.
        InvalidSweepError: The sweep, its store or its tracking server cannot be used from here.
    """
    request = Request.from_bytes((root / REQUEST_FILE).read_bytes())
    sweep = SweepFile.read(root / request.sweep)
    if request.path:
        sweep = replace(sweep, path=Path(request.path))
    else:
        _keep(root, request.store)
    workspace = open_sweep(sweep, request.store)
    if ids_digest(workspace.trials) != request.trials:
        raise SubmissionError(
            f"{Path(request.sweep).name} gives other trials here than where it was sent from: a "
            "file that it names has changed, or packages have other versions"
        )
    if request.joins:  # what is left in the current folder is for this run only
        os.chdir(tempfile.mkdtemp(prefix="fanflare-drive-"))
    options = RunOptions(
        store=request.store,
        tracking_uri=request.tracking_uri,
        retry_failed=request.retry_failed,
        cluster=RayCluster(
            capacity=request.capacity,
            gpu_memory_gib=request.gpu_memory_gib,
            idle_s=request.idle_s,
            wait_s=WAIT_FOR_LOST_S,
        )
        if request.joins
        else None,
        observer=observer,
    )
    return run_opened(workspace, options)


def _keep(root: Path, location: str) -> None:
    """Put the bundle into the store, so that any machine can open the sweep by its name."""
    files = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.name != BUNDLE_NOTE
    }
    bundle = Bundle(files=files)
    try:
        keep_bundle(Store(location), bundle)
    except OSError as error:
        raise StoreError(f"the store {location!r} cannot be written: {error}") from error
    (root / BUNDLE_NOTE).write_text(bundle.digest)
