"""A sweep's file as it was run, kept in the store, so that any machine can open it by name."""

from __future__ import annotations

import io
import json
import os
import uuid
import zipfile
from pathlib import Path
from typing import Any

from cluster.artifact import StoreError
from cluster.bundle import Bundle
from cluster.store import Store
from orchestrator.errors import UnknownNameError
from orchestrator.planning.sweep_file import SweepFile
from orchestrator.running.pins import Pins
from pipelines.sources.cache import cache_folder

DEFAULT_STORE = "fanflare-store"
"""The store's folder under the current one, unless the sweep file, an option or the variable
FANFLARE_STORE says otherwise."""


def save_sweep(store: Store, name: str, file: SweepFile, pins: Pins | None = None) -> str:
    """Keep the content of a sweep file in the store.

    What was sent to a cluster is found again by its bundle, wherever it is opened.

    Args:
        store: Where it is kept.
        name: The sweep's name.
        file: Its content.
        pins: What the names in it stand for.

    Returns:
        The id by which a tracking server tells the sweep from others of the same name; it stays
        with the store, wherever that is moved.
    """
    sweep_id = saved_id(store, name) or uuid.uuid4().hex[:16]
    content = {
        "id": sweep_id,
        "data": file.data,
        "path": str(file.path.resolve()) if file.path else "",
        "text": file.text,
        "pins": pins.to_json() if pins else None,
    }
    if bundle := bundle_around(file.path):
        root, digest = bundle
        content |= {"bundle": digest, "path": str(content["path"]).removeprefix(f"{root}/")}
    store.write_bytes(_copy_path(name), json.dumps(content, indent=1).encode())
    return sweep_id


def saved_id(store: Store, name: str) -> str:
    """Return the id that :func:`save_sweep` gave, or an empty string before the first run."""
    try:
        return str(json.loads(store.read_bytes(_copy_path(name)))["id"])
    except (OSError, ValueError, KeyError):
        return ""


def saved_pins(store: Store, name: str) -> Pins | None:
    """Return the pins of a sweep's last run; None where none were kept."""
    try:
        return Pins(**json.loads(store.read_bytes(_copy_path(name)))["pins"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_saved(store: Store, name: str) -> bool:
    """Return whether the store has a copy of a sweep's file."""
    return _copy_path(name) in store.list_files(f"sweeps/{name}")


def saved_bundle(store: Store, name: str) -> str:
    """Return the digest of the bundle in which a sweep was sent, an empty string if it was not."""
    try:
        return str(json.loads(store.read_bytes(_copy_path(name))).get("bundle", ""))
    except (OSError, ValueError):
        return ""


def saved_sweep(name: str, location: str | None) -> SweepFile:
    """Return the file of a sweep as it was last run.

    Args:
        name: The sweep's name.
        location: The store; by default the one of the environment, or of the current folder.

    Raises:
        UnknownNameError: The store has no such sweep.
    """
    location = location or os.environ.get("FANFLARE_STORE", DEFAULT_STORE)
    try:
        store = Store(location)
        copy = json.loads(store.read_bytes(_copy_path(name)))
        written_at = _written_at(store, copy)
    except (OSError, ValueError, KeyError, StoreError) as error:
        raise UnknownNameError(
            f"there is no sweep file {name!r}, and no sweep of that name in the store "
            f"{location!r}; name a file, or another store with --store"
        ) from error
    return SweepFile({**copy["data"], "store": location}, written_at, text=copy["text"])


def _written_at(store: Store, copy: dict[str, Any]) -> Path | None:
    """Return the path of a sweep file, after fetching it with its local files if it was sent."""
    if digest := copy.get("bundle"):
        return Path(fetch_bundle(store, digest), copy["path"])
    return Path(copy["path"]) if copy["path"] else None


BUNDLE_NOTE = "bundle.sha256"
"""Beside an unpacked bundle: its digest."""


def keep_bundle(store: Store, bundle: Bundle) -> None:
    """Put a bundle into the store, once."""
    path = bundle_path(bundle.digest)
    if path not in store.list_files("bundles"):
        store.write_bytes(path, bundle.content)


def bundle_path(digest: str) -> str:
    """Return the path of a bundle in the store."""
    return f"bundles/{digest}.zip"


def fetch_bundle(store: Store, digest: str) -> Path:
    """Return the folder of the cache in which a bundle of the store is unpacked.

    Raises:
        OSError: The store does not have it.
    """
    folder = cache_folder() / "bundles" / digest
    if not (folder / BUNDLE_NOTE).exists():
        with zipfile.ZipFile(io.BytesIO(store.read_bytes(bundle_path(digest)))) as archive:
            archive.extractall(folder)
        (folder / BUNDLE_NOTE).write_text(digest)
    return folder


def bundle_around(path: Path | None) -> tuple[Path, str] | None:
    """Return the root and the digest of the unpacked bundle that a file is part of, or None."""
    for root in path.resolve().parents if path else ():
        if (root / BUNDLE_NOTE).exists():
            return root, (root / BUNDLE_NOTE).read_text()
    return None


def _copy_path(name: str) -> str:
    return f"sweeps/{name}/sweep.json"
