"""Examines the machine by doing in small what a run does: Ray, MLflow and the store for real."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from cluster.artifact import StoreError
from cluster.backend import open_backend
from cluster.job import Job, Resources, State, WorkerSpec
from cluster.machine import local_resources
from cluster.store import Store
from orchestrator.running.saved_sweep import DEFAULT_STORE
from orchestrator.running.tracking import (
    MlflowTracker,
    SweepInfo,
    SweepSummary,
    default_tracking_uri,
)

MIN_FREE_GIB = 5.0
"""Models, data and Ray's spilling take a few GiB on a first day."""

MIN_SHM_GIB = 0.5
"""Ray keeps objects in shared memory and falls back on the disk below this."""

RAY_START_TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    is_fit: bool
    found: str
    remedy: str = ""
    """What to do where it is not fit."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


class Pulse:
    """A worker that says that it lives."""

    def __init__(self, *, resources: Resources) -> None:
        del resources

    def run(self, payload: str) -> str:
        """Return the payload."""
        return payload


def examine(store: str | None) -> Iterator[Finding]:
    """Yield the findings one after another, quick ones first."""
    yield _machine()
    yield from _packages()
    yield _store(store or os.environ.get("FANFLARE_STORE", DEFAULT_STORE))
    yield from _shared_memory()
    yield _ray()
    yield _mlflow()


def _machine() -> Finding:
    there = local_resources()
    fit = sys.version_info >= (3, 11)
    return Finding(
        subject="machine",
        is_fit=fit,
        found=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"{there.num_cpus:g} cores, {there.memory_gib:.0f} GiB, {there.num_gpus:g} GPUs",
        remedy="use Python 3.11 or newer",
    )


def _packages() -> Iterator[Finding]:
    wrong = []
    for line in requires("fanflare") or []:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} {found} is not {requirement.specifier}")
    yield Finding(
        subject="packages",
        is_fit=not wrong,
        found="; ".join(wrong)
        or ", ".join(f"{n} {version(n)}" for n in ("ray", "torch", "transformers", "mlflow")),
        remedy="install again with: pip install -c constraints.txt .",
    )


def _store(location: str) -> Finding:
    try:
        opened = Store(location)
        opened.check()
    except StoreError as error:
        return Finding(
            subject="store",
            is_fit=False,
            found=str(error),
            remedy="name another place with --store or FANFLARE_STORE",
        )
    if not opened.is_local:
        return Finding(subject="store", is_fit=True, found=f"{location} can be written")
    free_gib = shutil.disk_usage(opened.root).free / 2**30
    return Finding(
        subject="store",
        is_fit=free_gib >= MIN_FREE_GIB,
        found=f"{location} can be written, {free_gib:.0f} GiB free",
        remedy=f"free some space: {MIN_FREE_GIB:g} GiB are needed",
    )


def _shared_memory() -> Iterator[Finding]:
    folder = Path("/dev/shm")  # noqa: S108 - the kernel's, nothing is written to it
    if not folder.is_dir():
        return  # macOS has none and Ray does without
    size_gib = shutil.disk_usage(folder).total / 2**30
    yield Finding(
        subject="shared memory",
        is_fit=size_gib >= MIN_SHM_GIB,
        found=f"{folder} has {size_gib:.1f} GiB",
        remedy="in a container, start it with --shm-size=2g",
    )


def _ray() -> Finding:
    spec = WorkerSpec(factory="orchestrator.running.checkup:Pulse")
    try:
        backend = open_backend("ray", spec)
    except Exception as error:  # noqa: BLE001 - whatever keeps Ray from starting is the finding
        return _unfit_ray(str(error))
    try:
        backend.submit(Job(id="pulse", payload="alive"))
        ended = backend.wait(RAY_START_TIMEOUT_S)
    finally:
        backend.close()
    if ended and ended[0].result == "alive":
        return Finding(subject="Ray", is_fit=True, found="starts, and runs a job")
    failure = ended[0].failure if ended else None
    return _unfit_ray(failure.message if failure else "a worker did not answer in a minute")


def _unfit_ray(why: str) -> Finding:
    return Finding(
        subject="Ray",
        is_fit=False,
        found=why.strip().splitlines()[0][:300] if why.strip() else "does not start",
        remedy="set RAY_TMPDIR to a short path on a disk with space (under 60 characters), or "
        "run with --backend inline",
    )


def _mlflow() -> Finding:
    with tempfile.TemporaryDirectory(prefix="fanflare-doctor-") as folder:
        tracker = MlflowTracker(default_tracking_uri(Path(folder)), Path(folder))
        tracker.start(SweepInfo(name="doctor", id="doctor"))
        tracked = tracker.finish(State.FINISHED, SweepSummary())
    return Finding(
        subject="MLflow",
        is_fit=not tracked.faults,
        found="; ".join(tracked.faults) or "writes to SQLite",
        remedy="install again with: pip install -c constraints.txt .",
    )
