"""What whoever reads a volume that this machine does not mount promises; no target's own code."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, cast

from cluster.profile import Profile
from cluster.target import TargetError


class VolumeFiles(Protocol):
    """The files of a store on a volume, brought here as they are asked for."""

    is_driven: bool
    """Whether a driver of the sweep was at work when files were last brought."""

    def bring(self, paths: Sequence[str], folder: Path) -> int:
        """Bring files into a folder, where they lie as they do there; return the bytes brought.

        What is there already with its size and time is not sent again, what is gone is removed.

        Args:
            paths: Below the store's root, each that of a file, or of all files of one folder that
                end alike, as `folder/*.json`.
            folder: Where to.

        Raises:
            TargetError: The volume cannot be read; the message says what to do.
        """

    def close(self) -> None:
        """Give back what reading needs of the cluster."""


VOLUMES = {"kubernetes": "cluster.kubernetes.volume:ClaimFiles"}
"""Kinds of targets with volumes -> `module:class`, called as :func:`open_volume` is."""


def open_volume(profile: Profile, name: str, store: str, say: Callable[[str], None]) -> VolumeFiles:
    """Return the files of the volume of a profile.

    Args:
        profile: The cluster; its storage is a volume.
        name: The sweep that they are about.
        store: The store as the cluster sees it.
        say: Told in a sentence what is waited for.

    Raises:
        TargetError: It cannot be read from here.
    """
    if profile.kind not in VOLUMES:
        raise TargetError(
            f"a volume of the target {profile.kind!r} is read where it is mounted: name its place "
            "as `storage.local_path` in the profile, or with --store"
        )
    module, _, attribute = VOLUMES[profile.kind].partition(":")
    return cast(
        VolumeFiles, getattr(importlib.import_module(module), attribute)(profile, name, store, say)
    )
