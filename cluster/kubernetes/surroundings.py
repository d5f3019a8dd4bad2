"""What a profile says of image and store, judged from here; asks no API server."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cluster.addresses import is_this_machine
from cluster.artifact import StoreError
from cluster.kubernetes.findings import at
from cluster.profile import Bucket, Profile, Volume
from cluster.store import Store
from cluster.target import Problem

_RAY_IMAGE = re.compile(r"(^|/)ray(-ml|-llm)?$")


def image_problems(profile: Profile) -> Iterator[Problem]:
    """Yield why pods of the image would not be the same tomorrow, or not fit this machine.

    An image whose tag tells neither Ray nor Python is judged by the driver, when it starts.
    """
    if profile.image is None:
        return
    name, _, digest = profile.image.partition("@")
    path, _, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    repository = f"{path}/{last}".lstrip("/")
    ours = f"{sys.version_info.major}{sys.version_info.minor}"
    if not digest and tag in ("", "latest"):
        yield Problem(
            subject="image",
            message=f"{profile.image!r} has no fixed tag: pods of one sweep could run different "
            "code",
            remedy=f"name a tag or a digest, as `{repository}:{version('ray')}-py{ours}`",
        )
    release = re.match(r"\d+\.\d+\.\d+", tag)
    is_ray = _RAY_IMAGE.search(repository) is not None
    if is_ray and release and release[0] != version("ray"):
        yield Problem(
            subject="image",
            message=f"{profile.image!r} has Ray {release[0]}, this machine {version('ray')}",
            remedy="take the image of this machine's Ray, or install the image's Ray here",
        )
    python = re.search(r"py(\d)\.?(\d+)", tag)
    if python and f"{python[1]}{python[2]}" != ours:
        yield Problem(
            subject="image",
            message=f"{profile.image!r} has Python {python[1]}.{python[2]}, this machine "
            f"{ours[0]}.{ours[1:]}",
            remedy=f"take the image for Python {ours[0]}.{ours[1:]} (`-py{ours}`)",
        )


def store_problems(profile: Profile, manifests: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    """Yield why the store cannot be used from here, or not from the pods."""
    storage = profile.storage
    if isinstance(storage, Bucket):
        yield from _bucket_problems(storage, manifests)
    local = storage.local_path if isinstance(storage, Volume) else None
    if local is not None and not Path(local).expanduser().is_dir():
        yield Problem(
            subject="storage.local_path",
            message=f"there is no folder {local!r} on this machine",
            remedy="mount the volume here, or leave `local_path` out",
        )


def _bucket_problems(storage: Bucket, manifests: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    parts = urlsplit(storage.uri)
    endpoint = (parse_qs(parts.query).get("endpoint_override") or [""])[0]
    host = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}").hostname
    if endpoint and is_this_machine(host):
        yield Problem(
            subject="storage.uri",
            message=f"endpoint {endpoint!r} names this machine: inside a pod it is the pod",
            remedy="name the server as both this machine and pods reach it",
        )
        return
    if parts.scheme == "file" and not _is_mounted(parts.path, manifests):
        yield Problem(
            subject="storage.uri",
            message=f"{storage.uri!r} is a folder: every pod has its own, and this machine would "
            "see none",
            remedy="take a bucket or `storage: {pvc: NAME}`; a shared folder has to be mounted at "
            "this path in head and workers (`pod_patch`)",
        )
        return
    try:
        Store(storage.uri).check()
    except (StoreError, OSError) as error:
        yield Problem(
            subject="storage.uri",
            message=f"the store cannot be used from this machine: {error}",
            remedy="see that it exists, and that this machine has credentials for it",
        )


def _is_mounted(path: str, manifests: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether all that runs in head and workers sees a volume at a path or above it."""
    cluster = at(manifests[-1], "spec", "rayClusterSpec") or {}
    groups = [cluster.get("headGroupSpec"), *(cluster.get("workerGroupSpecs") or [])]
    specs = [at(group, "template", "spec") or {} for group in groups]
    return bool(cluster) and all(
        any(Path(path).is_relative_to(each["mountPath"]) for each in container["volumeMounts"])
        for spec in specs
        for container in [*spec["initContainers"], spec["containers"][0]]
    )
