"""Who drives a sweep: one process at a time, of this machine or any other; runs nothing."""

from __future__ import annotations

import json
import os
import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock, Timeout

from cluster.lease import Holder, LeaseTakenError, holder_of, lease
from cluster.store import Store
from orchestrator.errors import SweepBusyError

WAIT_FOR_LOST_S = 120.0
"""How long a driver that takes the place of a lost one waits for the lease of that."""


@contextmanager
def driving(store: Store, name: str, folder: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the right to drive a sweep: by a lock on this machine, in an object store by a lease.

    Args:
        store: Where its results are.
        name: The sweep's name.
        folder: The sweep's own folder on this machine.
        wait_s: Seconds to wait for another driver that may be gone.

    Raises:
        SweepBusyError: Another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(store, folder, name):
        if store.is_local:
            yield
            return
        owner = f"process {os.getpid()}"
        try:
            with lease(store, _lease(name), owner, on_loss=_stop, wait_s=wait_s):
                yield
        except LeaseTakenError as error:
            by = f"{error.holder.owner} of {error.holder.host}"
            raise SweepBusyError(_busy(store, name, by)) from error


def is_driven(store: Store, name: str, folder: Path) -> bool:
    """Return whether a process drives a sweep now."""
    if holder_of(store, _lease(name)) is not None:
        return True
    if not store.is_local or not folder.is_dir():
        return False
    try:
        with FileLock(folder / "driver.lock").acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a store that may be read only: whoever drives it has left its number
        return (folder / "driver.pid").exists()


def note_driver(store: Store, name: str) -> None:
    """Note in a copy of a store that somebody drives the sweep where the copy comes from."""
    holder = Holder(owner="its driver", host="the cluster", renewed_at=time.time())
    store.write_bytes(_lease(name), json.dumps(asdict(holder)).encode())


@contextmanager
def _locked(store: Store, folder: Path, name: str) -> Iterator[None]:
    lock = FileLock(folder / "driver.lock")
    owner = folder / "driver.pid"
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        pid = owner.read_text().strip() if owner.exists() else "unknown"
        raise SweepBusyError(_busy(store, name, f"process {pid}")) from error
    try:
        owner.write_text(str(os.getpid()))
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _busy(store: Store, name: str, by: str) -> str:
    where = f" --store {shlex.quote(store.root)}" if store.is_local else ""
    return f"sweep {name!r} is being run by {by}; watch it with: fanflare status {name}{where}"


def _lease(name: str) -> str:
    return f"sweeps/{name}/driver.json"


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)  # the run ends in good order
