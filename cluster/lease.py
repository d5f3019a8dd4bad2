"""The right to drive something, noted in the store and renewed; takes no lock of one machine.

An object store has no locks. A lease is a small file that its holder writes anew from time to
time; one that has not been renewed for long belongs to nobody (:class:`Pace`). Two that take a
lease at the same moment both write it, wait, and read it again: who wrote last has it.
"""

from __future__ import annotations

import json
import logging
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from cluster.artifact import StoreError
from cluster.store import Store

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often a lease is renewed, and what follows from it; the same for all that share one."""

    renew_every_s: float = 20.0
    lost_after_s: float = 90.0
    """Longer than two machines' clocks differ, plus a few missed renewals."""
    settle_s: float = 1.0
    """Longer than a small file takes to be written."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who has a lease."""

    owner: str
    """How a message names it."""
    host: str = field(default_factory=platform.node)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    renewed_at: float = 0.0
    """Unix time in seconds, by the holder's clock."""


class LeaseTakenError(Exception):
    """Somebody else has the lease; `holder` says who."""

    def __init__(self, holder: Holder) -> None:
        self.holder = holder
        super().__init__(f"{holder.owner} on {holder.host} has it")


def holder_of(store: Store, path: str, pace: Pace = Pace()) -> Holder | None:
    """Return who has a lease now, or None."""
    try:
        holder = Holder(**json.loads(store.read_bytes(path)))
    except (OSError, ValueError, TypeError):
        return None
    return holder if time.time() - holder.renewed_at < pace.lost_after_s else None


@contextmanager
def lease(
    store: Store,
    path: str,
    owner: str,
    *,
    on_loss: Callable[[], None],
    wait_s: float = 0.0,
    pace: Pace = Pace(),
) -> Iterator[Holder]:
    """Hold a lease.

    Args:
        store: Where it is noted.
        path: Its file in the store.
        owner: How a message to others names this process.
        on_loss: Called from another thread when somebody else has taken it.
        wait_s: Seconds to wait for a holder to give it back, or to be gone.
        pace: How often it is renewed.

    Raises:
        LeaseTakenError: Somebody else has it.
    """
    own = Holder(owner=owner)
    deadline = time.monotonic() + wait_s
    while (other := holder_of(store, path, pace)) is not None:
        if time.monotonic() >= deadline:
            raise LeaseTakenError(other)
        time.sleep(pace.settle_s)
    _write(store, path, own)
    time.sleep(pace.settle_s)
    found = holder_of(store, path, pace)
    if found is not None and found.id != own.id:
        raise LeaseTakenError(found)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(pace.renew_every_s):
            try:
                found = holder_of(store, path, pace)
                if found is not None and found.id != own.id:
                    on_loss()
                    return
                _write(store, path, own)
            except (OSError, StoreError) as error:  # the next renewal may do better
                _LOG.warning("cannot renew the lease %s: %s", path, error)

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield own
    finally:
        ended.set()
        thread.join(pace.renew_every_s)
        found = holder_of(store, path, pace)
        if found is not None and found.id == own.id:
            _write(store, path, Holder(owner="", id=own.id))  # renewed at the beginning of time


def _write(store: Store, path: str, holder: Holder) -> None:
    content = asdict(holder) | ({"renewed_at": time.time()} if holder.owner else {})
    store.write_bytes(path, json.dumps(content).encode())
