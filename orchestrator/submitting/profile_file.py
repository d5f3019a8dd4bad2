"""Reads the profile of a cluster and tells all its faults at once; asks no cluster."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from cluster.artifact import StoreError
from cluster.profile import Bucket, Profile, Volume
from cluster.store import Store
from orchestrator.errors import Fault, InvalidFileError, InvalidProfileError, SubmissionError
from orchestrator.planning.faults import faults_of, shown
from orchestrator.planning.sweep_file import SweepFile

VOLUME_MOUNT = "/fanflare/store"
"""Where pods mount the volume of the results."""


def read_profile(path: str | None) -> Profile:
    """Return the profile of a file; of None that of this machine.

    Raises:
        InvalidProfileError: It has faults; all of them are told.
    """
    if path is None:
        return Profile()
    try:
        file = SweepFile.read(Path(path))
    except InvalidFileError as error:
        raise InvalidProfileError(error.faults, error.path) from error
    if not isinstance(file.data, dict):
        fault = Fault(message=f"a profile is a mapping of keys; given: {shown(file.data)}", line=1)
        raise InvalidProfileError([fault], path)
    try:
        return Profile.model_validate(file.data)
    except ValidationError as error:
        raise InvalidProfileError(faults_of(error, Profile, file), path) from error


def store_here(profile: Profile) -> str | None:
    """Return where this machine sees the results; None where it does not, or the sweep says it.

    Raises:
        SubmissionError: It cannot be reached from here.
    """
    if isinstance(profile.storage, Bucket):
        try:
            Store(profile.storage.uri).list_folders("sweeps")
        except (StoreError, OSError) as error:
            raise SubmissionError(
                f"storage.uri of the profile: {error}. This machine needs credentials of its own "
                "and a way there; the environment of the pods does not count here"
            ) from error
        return profile.storage.uri
    return profile.storage.local_path if profile.storage else None


def is_out_of_sight(profile: Profile) -> bool:
    """Return whether the results are on a volume that this machine does not mount."""
    return isinstance(profile.storage, Volume) and not profile.storage.local_path


def store_there(profile: Profile) -> str | None:
    """Return where the cluster sees the results; None where the sweep says it."""
    if isinstance(profile.storage, Volume):
        return f"{VOLUME_MOUNT}/{profile.storage.path}".rstrip("/")
    return profile.storage.uri if profile.storage else None
