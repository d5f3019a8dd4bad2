"""What all pods of a submission have in common: labels, environment, security, quantities."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cluster import naming
from cluster.profile import Bucket, Head, Profile, SecretKey, Toleration, Volume, WorkerGroup
from cluster.target import Submission

ROOT = "/fanflare"
"""A folder of every pod, empty at its start."""
BUNDLE = f"{ROOT}/bundle"
"""Where the files of a submission lie in every pod."""
STORE = f"{ROOT}/store"
"""Where a PersistentVolumeClaim is mounted."""
CONFIG = "/etc/fanflare"
"""Where the ConfigMap with the files is mounted, if they travel in one."""
BUNDLE_KEY = "bundle.zip"
"""The ConfigMap's key."""

RESERVED = (
    "PYTHONPATH",
    "RAY_ADDRESS",
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN",
    "RAY_AUTH_TOKEN_PATH",
)
"""Variables that fanflare, Ray and KubeRay set in pods."""

POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "runAsGroup": 100,
    "fsGroup": 100,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""The user `ray` of the images of rayproject; said as a number, for the kubelet cannot tell from a
name that it is not root."""

CONTAINER_SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
"""With `POD_SECURITY` what the Pod Security Standard `restricted` asks for."""


@dataclass(frozen=True, kw_only=True)
class Sending:
    """One submission on its way to one cluster."""

    submission: Submission
    profile: Profile
    number: int
    """The n of its name."""

    @cached_property
    def name(self) -> str:
        """The name of its RayJob, and of its ConfigMap."""
        return naming.job_name(self.submission.name, self.submission.store, self.number)

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """Labels and annotations of all its objects and pods."""
        sent = self.submission
        return {
            "labels": naming.labels(sent.name, sent.store, sent.owner),
            "annotations": {
                naming.SWEEP_NAME: sent.name,
                naming.STORE: sent.store,
                naming.BUNDLE: sent.bundle.digest,
                naming.OWNER: sent.owner,
            },
        }

    @cached_property
    def source(self) -> str:
        """Where its pods fetch the files: a URI, or a mounted file."""
        storage = self.profile.storage
        if isinstance(storage, Bucket):
            return beneath(storage.uri, f"bundles/{self.submission.bundle.digest}.zip")
        return f"{CONFIG}/{BUNDLE_KEY}"


def beneath(uri: str, path: str) -> str:
    """Return the URI of a path below another; what `pyarrow.fs` is told after `?` stays there."""
    base, mark, options = uri.partition("?")
    return f"{base.rstrip('/')}/{path}{mark}{options}"


def environment(profile: Profile) -> dict[str, Any]:
    """Return `env` and `envFrom` of a container: values, and secrets by their names only."""
    env = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": value.secret, "key": value.key}}}
        if isinstance(value, SecretKey)
        else {"name": name, "value": value}
        for name, value in profile.env.items()
    ]
    env_from = [{"secretRef": {"name": name}} for name in profile.env_secrets]
    return {"env": env} | ({"envFrom": env_from} if env_from else {})


def pod_spec(profile: Profile, place: Head | WorkerGroup) -> dict[str, Any]:
    """Return what the spec of every pod says: who runs it, as whom, and where it may be."""
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        # Else a Service called `mlflow` would set MLFLOW_PORT, which MLflow takes for its own.
        "enableServiceLinks": False,
        "securityContext": POD_SECURITY,
    }
    if profile.service_account:
        spec["serviceAccountName"] = profile.service_account
    if profile.priority_class:
        spec["priorityClassName"] = profile.priority_class
    if profile.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in profile.image_pull_secrets]
    if place.node_selector:
        spec["nodeSelector"] = dict(place.node_selector)
    if place.tolerations:
        spec["tolerations"] = [_toleration(part) for part in place.tolerations]
    return spec


def volumes(sending: Sending) -> list[dict[str, Any]]:
    """Return the volumes through which files and results come and go."""
    storage = sending.profile.storage
    found: list[dict[str, Any]] = [{"name": "bundle", "emptyDir": {}}]
    if isinstance(storage, Volume):
        found.append({"name": "store", "persistentVolumeClaim": {"claimName": storage.pvc}})
        found.append({"name": "config", "configMap": {"name": sending.name}})
    return found


def mounts(profile: Profile) -> list[dict[str, Any]]:
    """Return where a container of Ray sees files and results."""
    found: list[dict[str, Any]] = [{"name": "bundle", "mountPath": ROOT}]
    if isinstance(profile.storage, Volume):
        found.append({"name": "store", "mountPath": STORE})
    return found


def exactly(amounts: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return resources whose requests equal their limits, so that the pod is evicted last."""
    return {"requests": dict(amounts), "limits": dict(amounts)}


def amounts(num_cpus: float, memory_gib: float) -> dict[str, str]:
    """Return cores and GiB as quantities of Kubernetes."""
    return {"cpu": cores(num_cpus), "memory": mebibytes(memory_gib)}


def cores(number: float) -> str:
    """Return a number of cores as a quantity: whole, or in thousandths."""
    return str(int(number)) if number == int(number) else f"{math.ceil(number * 1000)}m"


def mebibytes(gib: float) -> str:
    """Return GiB as a quantity: whole, or in MiB."""
    return f"{int(gib)}Gi" if gib == int(gib) else f"{math.ceil(gib * 1024)}Mi"


def in_bytes(gib: float) -> str:
    """Return GiB as Ray's options take them."""
    return str(int(gib * 2**30))


def _toleration(toleration: Toleration) -> dict[str, Any]:
    return toleration.model_dump(exclude_none=True)
