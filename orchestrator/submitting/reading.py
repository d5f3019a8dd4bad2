"""Opens sweeps over their results, wherever these are: here, in a bucket, on a cluster's volume.

A volume that this machine does not mount is read through a pod. What is asked for is brought into a
folder of the cache that is laid out as the store is, and which the rest of the code then reads as
any other store: first what opens and judges a sweep, then what the command wants besides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster.layout import logs_path, record_path
from cluster.profile import Profile, Volume
from cluster.store import Store
from cluster.target import TargetError
from cluster.volume import VolumeFiles, open_volume
from orchestrator.errors import SubmissionError, UnknownNameError
from orchestrator.running.right_to_drive import note_driver
from orchestrator.running.saved_sweep import bundle_path, is_saved, saved_bundle
from orchestrator.running.trial_logs import StageLog, find_trial, logs_of, trial_logs
from orchestrator.running.workspace import Workspace, is_sweep_file, open_past, open_sweep
from orchestrator.submitting.profile_file import is_out_of_sight, store_here, store_there
from pipelines.sources.cache import cache_folder

Say = Callable[[str], None]
"""Told in a sentence what is waited for."""
Fetch = Callable[[Sequence[str], Path], int]
"""Brings files of the store into a folder, where they lie as they do there; returns bytes."""


def say_nothing(text: str) -> None:
    """Keep what is waited for to oneself."""


class Results:
    """Results that this machine sees.

    Args:
        location: The store; None for the one that the sweep says.
    """

    fetch: Fetch | None = None
    """How files come that were not brought with the sweep; None where all are in sight."""

    def __init__(self, location: str | None) -> None:
        self._location = location

    def open(self, sweep: str) -> Workspace:
        """Open a sweep by its file or name; its history and its records can then be read.

        Raises:
            UnknownNameError: There is neither such a file nor such a sweep in the store.
            SubmissionError: The results cannot be reached.
        """
        return open_past(sweep, self._location)

    def logs(self, trial: str, sweep: str | None) -> list[StageLog]:
        """Return what a trial's stages printed, as `trial_logs` does.

        Raises:
            UnknownNameError: No trial, or more than one, has such an id.
            SubmissionError: The results cannot be reached.
        """
        return trial_logs(trial, sweep, self._location)


class Mirror(Results):
    """Results on a volume that only the cluster mounts, brought here as they are asked for.

    Args:
        profile: The cluster.
        volume: The storage of the profile.
        say: Told what is waited for.
    """

    def __init__(self, profile: Profile, volume: Volume, say: Say) -> None:
        self._profile = profile
        self._volume = volume
        self._say = say
        self._files: VolumeFiles | None = None
        place = f"{profile.context}\n{profile.namespace}\n{volume.pvc}\n{volume.path}"
        self._folder = cache_folder() / "volumes" / hashlib.sha256(place.encode()).hexdigest()[:16]
        super().__init__(str(self._folder))
        self.fetch = self._fetch

    def open(self, sweep: str) -> Workspace:
        """Open a sweep, after bringing its history, its bundle and its records."""
        if is_sweep_file(sweep):
            workspace = open_sweep(sweep, self._location)
            self._bring_sweep(workspace.sweep.name, _records(workspace))
            workspace = open_past(sweep, self._location)
            if workspace.is_past:
                self._fetch(_records(workspace), self._folder)
        else:
            self._bring_named(sweep)
            workspace = open_past(sweep, self._location)
            self._fetch(_records(workspace), self._folder)
        return workspace

    def logs(self, trial: str, sweep: str | None) -> list[StageLog]:
        """Return what a trial's stages printed, after bringing it."""
        if sweep is None:
            raise SubmissionError(
                "name the trial's sweep by --sweep: this machine does not see the volume to search"
            )
        if is_sweep_file(sweep):
            self._open_volume(open_sweep(sweep, self._location).sweep.name)
        else:
            self._bring_named(sweep)
        found, workspace = find_trial(trial, sweep, self._location)
        self._fetch([f"{logs_path(digest)}/*.txt" for digest in found.stages], self._folder)
        return logs_of(found, workspace)

    def close(self) -> None:
        """Give back what reading needs of the cluster."""
        if self._files is not None:
            with told():
                self._files.close()

    def _bring_named(self, name: str) -> None:
        """Bring what opens a sweep by its name."""
        self._bring_sweep(name)
        if not is_saved(Store(str(self._folder)), name):
            raise UnknownNameError(
                f"there is no sweep file {name!r}, and no sweep of that name in "
                f"{self._volume.path!r} of the claim {self._volume.pvc!r}"
            )

    def _bring_sweep(self, name: str, more: Sequence[str] = ()) -> None:
        """Bring a sweep's history and its bundle, and more with them."""
        folder = f"sweeps/{name}"
        files = self._open_volume(name)
        history = [f"{folder}/*.json", f"{folder}/journal/*.jsonl", "timings.json"]
        self._fetch([*history, *more], self._folder)
        store = Store(str(self._folder))
        bundle = bundle_path(saved_bundle(store, name))
        if saved_bundle(store, name) and bundle not in store.list_files("bundles"):
            self._fetch([bundle], self._folder)
        if files.is_driven:
            note_driver(store, name)

    def _open_volume(self, name: str) -> VolumeFiles:
        if self._files is None:
            with told():
                there = str(store_there(self._profile))
                self._files = open_volume(self._profile, name, there, self._say)
        return self._files

    def _fetch(self, paths: Sequence[str], folder: Path) -> int:
        assert self._files is not None
        with told():
            return self._files.bring(paths, folder)


@contextmanager
def results_of(
    profile: Profile, given: str | None = None, say: Say = say_nothing
) -> Iterator[Results]:
    """Give the results of a cluster's sweeps, as long as the block lasts.

    Args:
        profile: The cluster.
        given: Where results are by the command line, which goes first.
        say: Told what is waited for, where results come through a pod.

    Raises:
        SubmissionError: They cannot be reached.
    """
    volume = profile.storage
    if given is not None or not (isinstance(volume, Volume) and is_out_of_sight(profile)):
        yield Results(given or store_here(profile))
        return
    mirror = Mirror(profile, volume, say)
    try:
        yield mirror
    finally:
        mirror.close()


@contextmanager
def told() -> Iterator[None]:
    """Let a target's errors end a command with a message."""
    try:
        yield
    except TargetError as error:
        raise SubmissionError(str(error)) from error


def _records(workspace: Workspace) -> list[str]:
    return [record_path(digest) for digest in workspace.nodes]
