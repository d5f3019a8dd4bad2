"""What stands in the way of sending a program to a Ray cluster, all at once; sends nothing."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import ray

from cluster.addresses import is_this_machine
from cluster.artifact import StoreError
from cluster.job import Resources
from cluster.profile import Bucket, Profile, RayTarget, SecretKey
from cluster.ray_api import RayApi, RayApiError
from cluster.store import Store
from cluster.target import Problem, Submission
from cluster.tracking import tracking_problems

_GIB = 2**30


def ray_problems(profile: Profile, api: RayApi, submission: Submission) -> list[Problem]:
    """Return what is wrong with a profile, or with the cluster for these jobs.

    Args:
        profile: Names store and environment; `workers` say what an autoscaler may bring.
        api: The cluster.
        submission: What would be sent.
    """
    found = [*_profile_problems(profile), *_store_problems(profile)]
    if not _is_here(profile):
        found += tracking_problems(submission.tracking_uri)
    try:
        about = api.get("/api/v0/cluster_metadata")
        nodes = api.get("/api/v0/nodes?detail=1&limit=10000")["result"]["result"]
    except RayApiError as error:
        return [*found, Problem(subject="target.ray", message=error.fault, remedy=error.remedy)]
    pods = [group.pod for group in profile.workers.values()]
    there = [_offered(node["resources_total"]) for node in nodes if node["state"] == "ALIVE"]
    return [
        *found,
        *_version_problems(about),
        *_placement_problems(submission.shapes, [*there, *pods]),
    ]


def _is_here(profile: Profile) -> bool:
    return isinstance(profile.target, RayTarget) and is_this_machine(
        urlsplit(profile.target.ray).hostname
    )


def _profile_problems(profile: Profile) -> list[Problem]:
    secrets = [f"env.{name}" for name, value in profile.env.items() if isinstance(value, SecretKey)]
    if profile.env_secrets:
        secrets.append("env_secrets")
    return [
        Problem(
            subject=key,
            message="a Ray cluster has no Secrets, and what is sent with a job can be read there",
            remedy="set the variable on the cluster's own nodes",
        )
        for key in secrets
    ]


def _store_problems(profile: Profile) -> list[Problem]:
    storage = profile.storage
    if not isinstance(storage, Bucket):
        message = "a volume of Kubernetes has no meaning to a Ray cluster"
        remedy = "give `storage.uri`, a place that its nodes and this machine reach"
        return [Problem(subject="storage", message=message, remedy=remedy)]
    try:
        Store(storage.uri).check()
    except StoreError as error:
        remedy = "check the URI and this machine's credentials for it"
        return [Problem(subject="storage.uri", message=str(error), remedy=remedy)]
    return []


def _version_problems(about: Mapping[str, Any]) -> list[Problem]:
    minor = platform.python_version().rpartition(".")[0]  # any patch of it will do
    pairs = {
        "Ray": (about["rayVersion"], ray.__version__),
        "Python": (about["pythonVersion"].rpartition(".")[0], minor),
    }
    return [
        Problem(
            subject=f"{name} version",
            message=f"the cluster runs {name} {there}, this machine {here}",
            remedy=f"install {name} {there} here, or use a cluster with {name} {here}",
        )
        for name, (there, here) in pairs.items()
        if there != here
    ]


def _placement_problems(
    shapes: Sequence[Resources], nodes: Sequence[Resources]
) -> Iterator[Problem]:
    """Yield the shapes for which no node is large enough: Ray would wait for ever."""
    largest = max(nodes, key=lambda n: (n.num_gpus, n.num_cpus, n.memory_gib), default=Resources())
    for shape in shapes:
        if not any(shape.fits(node) for node in nodes):
            there = f"the largest has {_shown(largest)}" if nodes else "there is none"
            yield Problem(
                subject="resources",
                message=f"no node has room for a job of {_shown(shape)}: {there}",
                remedy="lower the sweep's `resources`, or name under `workers` what the cluster's "
                "autoscaler may bring",
            )


def _offered(total: Mapping[str, float]) -> Resources:
    return Resources(
        num_cpus=total.get("CPU", 0),
        num_gpus=total.get("GPU", 0),
        memory_gib=total.get("memory", 0) / _GIB,
    )


def _shown(shape: Resources) -> str:
    parts = {"CPUs": shape.num_cpus, "GPUs": shape.num_gpus, "GiB": shape.memory_gib}
    return ", ".join(f"{number:.3g} {unit}" for unit, number in parts.items() if number)
