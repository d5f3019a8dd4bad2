"""Which files a sweep needs wherever it runs: its own, the user's data and code, and ours."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from cluster.addresses import has_password
from cluster.bundle import Bundle, package_files
from orchestrator.errors import InvalidFileError, SubmissionError
from orchestrator.planning.trial import ids_digest
from orchestrator.running.workspace import Workspace, open_sweep
from orchestrator.submitting.own_code import PACKAGES, own_code
from orchestrator.submitting.request import REQUEST_FILE, Request
from pipelines.command.files import Script
from pipelines.sources.base import Origin, Source
from pipelines.sources.entries import MadeModelsEntry
from pipelines.sources.local import found_files, matching

SWEEP_FOLDER = "sweep"
"""The folder of the sweep file in the bundle; what it names lies below it as it does here."""
MAX_FILES_BYTES = 80 * 2**20
"""Ray's Jobs API takes 100 MiB; more data than this belongs into a bucket or onto a hub."""


def bundle_of(workspace: Workspace, request: Request) -> Bundle:
    """Return all that a sweep needs to run elsewhere.

    It is unpacked and opened once, here and aside, to see that it gives the same trials there.

    Raises:
        SubmissionError: Something that it needs cannot be sent.
    """
    files = {
        **package_files(PACKAGES),
        **_own_code(workspace),
        **_sweep_files(workspace),
        REQUEST_FILE: request.to_bytes(),
    }
    bundle = Bundle(files=files)
    _check(bundle, request, workspace)
    return bundle


def _own_code(workspace: Workspace) -> dict[str, bytes]:
    sweep = workspace.sweep
    makers = [entry.maker for entry in sweep.model_entries if isinstance(entry, MadeModelsEntry)]
    found = own_code([sweep.pipeline, *makers], workspace.nodes.values())
    if sum(map(len, found.values())) > MAX_FILES_BYTES:
        largest = max(found, key=lambda path: len(found[path]))
        raise SubmissionError(
            f"the packages that the pipeline imports have more than {MAX_FILES_BYTES >> 20} MiB, "
            f"the most in {largest}: keep data out of them, or install them in the image"
        )
    return found


def _sweep_files(workspace: Workspace) -> dict[str, bytes]:
    path = workspace.file.path
    if path is None:
        raise SubmissionError("only a sweep that stands in a file can be sent to a cluster")
    _check_secrets(workspace)
    folder = workspace.file.folder
    found = {f"{SWEEP_FOLDER}/{path.name}": workspace.file.text.encode()}
    size = 0
    for local in sorted(set(_local_files(workspace))):
        if not local.is_relative_to(folder):
            raise SubmissionError(
                f"{local} lies outside {folder}, the folder of the sweep file, with which data "
                "travel: move it there, or name it by `hub:` or `pypi:`"
            )
        size += local.stat().st_size
        if size > MAX_FILES_BYTES:
            raise SubmissionError(
                f"the sweep's local files have more than {MAX_FILES_BYTES >> 20} MiB, more than "
                "can be sent along: put them onto a hub, or into the image"
            )
        found[f"{SWEEP_FOLDER}/{local.relative_to(folder).as_posix()}"] = local.read_bytes()
    return found


def _check_secrets(workspace: Workspace) -> None:
    tracking = workspace.sweep.tracking
    uris = {
        "store": workspace.sweep.store,
        "tracking.uri": None if tracking == "off" else tracking.uri,
    }
    for key, uri in uris.items():
        if uri is not None and has_password(uri):
            raise SubmissionError(
                f"{key} of {workspace.file_name} holds a password, which would travel with the "
                "file and stay in the store: leave it out, and let a profile name the place and "
                "give the password by `env` from a Secret"
            )


def _local_files(workspace: Workspace) -> Iterator[Path]:
    """Yield the files of this machine that the sweep's stages read."""
    seen: set[str] = set()
    for node in workspace.nodes.values():
        for pinned in node.sources.values():
            if pinned.digest in seen:
                continue
            seen.add(pinned.digest)
            if isinstance(pinned, Script):
                yield from pinned.files
            source = getattr(pinned, "source", None)
            if isinstance(source, Source) and source.origin is Origin.PATH:
                yield from _files_of(source)


def _files_of(source: Source) -> Iterator[Path]:
    root = Path(source.location)
    if root.is_file():
        yield root
    elif source.paths:
        for pattern in source.paths.values():
            yield from matching(root, pattern)
    else:
        yield from found_files(root, "**/*")  # as in its digest: what is hidden stays here


def _check(bundle: Bundle, request: Request, workspace: Workspace) -> None:
    local = {name: text for name, text in bundle.files.items() if name.startswith(SWEEP_FOLDER)}
    with tempfile.TemporaryDirectory(prefix="fanflare-") as folder:
        Bundle(files=local).unpack(Path(folder))
        try:
            there = open_sweep(Path(folder, request.sweep), str(Path(folder, "store")))
        except InvalidFileError as error:
            faults = "\n".join(f"  {fault}" for fault in error.faults)
            raise SubmissionError(
                f"{workspace.file_name} names what a cluster would not find; a relative path "
                f"below its folder travels with it:\n{faults}"
            ) from error
        for path in _local_files(there):
            if not path.resolve().is_relative_to(Path(folder).resolve()):
                raise SubmissionError(
                    f"{workspace.file_name} names {path}, a place on this machine only: write it "
                    "as a path relative to the sweep file, with which it then travels"
                )
    if ids_digest(there.trials) != request.trials:
        raise SubmissionError(f"{workspace.file_name} would give other trials on a cluster")
