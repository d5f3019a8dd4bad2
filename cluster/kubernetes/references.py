"""Whether what a profile names is in the cluster: namespace, Secrets, volume, queue and others.

What is not there is told with the nearest name that is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import version
from typing import Any

from cluster.kubernetes.api import Api
from cluster.kubernetes.findings import at
from cluster.kubernetes.transport import ForbiddenError, NotFoundError
from cluster.profile import Profile, SecretKey, Volume
from cluster.target import Problem

Object = Mapping[str, Any]
_KUEUE = "/apis/kueue.x-k8s.io"


def namespace_problems(profile: Profile, api: Api) -> Iterator[Problem]:
    """Yield that the namespace is not there, or on its way out."""
    path = "/api/v1/namespaces"
    found = _at_path(api, f"{path}/{profile.namespace}")
    if found is None:
        yield _missing("namespace", "namespace", profile.namespace, _names(api, path), "create")
    elif at(found, "status", "phase") == "Terminating":
        yield Problem(
            subject="namespace",
            message=f"namespace {profile.namespace!r} is being deleted",
            remedy="wait until it is gone and create it anew, or name another",
        )


def reference_problems(profile: Profile, api: Api) -> Iterator[Problem]:
    """Yield what the profile names and the namespace lacks."""
    for check in (_secrets, _service_account, _volume, _queue, _priority, _ray_cluster):
        try:
            yield from check(profile, api)
        except ForbiddenError:
            continue  # what may not be looked at may well be there


def _secrets(profile: Profile, api: Api) -> Iterator[Problem]:
    wanted = [
        (f"env.{key}", value.secret, value.key)
        for key, value in profile.env.items()
        if isinstance(value, SecretKey)
    ]
    wanted += [("env_secrets", name, "") for name in profile.env_secrets]
    wanted += [("image_pull_secrets", name, "") for name in profile.image_pull_secrets]
    for subject, name, key in wanted:
        secret = api.get("secrets", name)
        if secret is None:
            near = [each["metadata"]["name"] for each in api.select("secrets")]
            yield _missing(subject, "Secret", name, near, "kubectl create secret generic")
        elif key and key not in (secret.get("data") or {}):
            keys = sorted(secret.get("data") or {})
            yield Problem(
                subject=subject,
                message=f"Secret {name!r} has no key {key!r}; it has {', '.join(keys) or 'none'}"
                + _meant(key, keys),
                remedy="correct the key in the profile, or add it to the Secret",
            )
        elif subject == "image_pull_secrets" and "docker" not in str(secret.get("type")):
            yield Problem(
                subject=subject,
                message=f"Secret {name!r} is of type {secret.get('type')}, not for pulling images",
                remedy=f"make it by `kubectl create secret docker-registry {name} ...`",
            )


def _service_account(profile: Profile, api: Api) -> Iterator[Problem]:
    name = profile.service_account
    if name and api.get("serviceaccounts", name) is None:
        near = [each["metadata"]["name"] for each in api.select("serviceaccounts")]
        how = "kubectl create serviceaccount"
        yield _missing("service_account", "ServiceAccount", name, near, how)


def _volume(profile: Profile, api: Api) -> Iterator[Problem]:
    if not isinstance(profile.storage, Volume):
        return
    name = profile.storage.pvc
    claim = api.get("persistentvolumeclaims", name)
    if claim is None:
        near = [each["metadata"]["name"] for each in api.select("persistentvolumeclaims")]
        yield _missing("storage.pvc", "PersistentVolumeClaim", name, near, "create")
        return
    phase = at(claim, "status", "phase")
    if phase == "Lost" or (phase == "Pending" and not _binds_late(claim, api)):
        yield Problem(
            subject="storage.pvc",
            message=f"PersistentVolumeClaim {name!r} is {phase}: no volume is bound to it",
            remedy=f"see why: `kubectl describe pvc {name}`",
        )
    modes = at(claim, "spec", "accessModes") or []
    if "ReadWriteMany" not in modes and not _has_one_node(api, modes):
        yield Problem(
            subject="storage.pvc",
            message=f"PersistentVolumeClaim {name!r} allows {', '.join(modes)}: pods of several "
            "nodes could not write to it",
            remedy="take a claim with ReadWriteMany (NFS, EFS, Filestore), or a bucket",
        )


def _binds_late(claim: Object, api: Api) -> bool:
    """Return whether a claim waits for its first pod; where nobody may tell, it may."""
    name = at(claim, "spec", "storageClassName")
    try:
        found = _at_path(api, f"/apis/storage.k8s.io/v1/storageclasses/{name}") if name else None
    except ForbiddenError:
        return True
    return bool(at(found, "volumeBindingMode") == "WaitForFirstConsumer")


def _has_one_node(api: Api, modes: Sequence[str]) -> bool:
    """Return whether all pods share the node on which a ReadWriteOnce volume is, as on kind."""
    try:
        return "ReadWriteOnce" in modes and len(api.select_at("/api/v1/nodes")) == 1
    except ForbiddenError:
        return False


def _queue(profile: Profile, api: Api) -> Iterator[Problem]:
    if not profile.queue:
        return
    group = _at_path(api, _KUEUE)
    if group is None:
        yield Problem(
            subject="queue",
            message=f"queue {profile.queue!r} is given, and the cluster has no Kueue",
            remedy="take `queue` out, or install Kueue: https://kueue.sigs.k8s.io",
        )
        return
    served = at(group, "preferredVersion", "version")
    path = f"{_KUEUE}/{served}/namespaces/{profile.namespace}/localqueues"
    queue = _at_path(api, f"{path}/{profile.queue}")
    if queue is None:
        yield _missing("queue", "LocalQueue", profile.queue, _names(api, path), "create")
        return
    for condition in at(queue, "status", "conditions") or []:
        if condition.get("type") == "Active" and condition.get("status") == "False":
            yield Problem(
                subject="queue",
                message=f"LocalQueue {profile.queue!r} is not active: {condition.get('message')}",
                remedy="see that its ClusterQueue exists and is not stopped",
            )


def _priority(profile: Profile, api: Api) -> Iterator[Problem]:
    path = "/apis/scheduling.k8s.io/v1/priorityclasses"
    name = profile.priority_class
    if name and _at_path(api, f"{path}/{name}") is None:
        yield _missing("priority_class", "PriorityClass", name, _names(api, path), "create")


def _ray_cluster(profile: Profile, api: Api) -> Iterator[Problem]:
    name = profile.ray_cluster
    if not name:
        return
    cluster = api.get("rayclusters", name)
    if cluster is None:
        near = [each["metadata"]["name"] for each in api.select("rayclusters")]
        yield _missing("ray_cluster", "RayCluster", name, near, "create")
        return
    release = at(cluster, "spec", "rayVersion")
    if release and release != version("ray"):
        yield Problem(
            subject="ray_cluster",
            message=f"RayCluster {name!r} has Ray {release}, this machine {version('ray')}",
            remedy="install that Ray here, or name a cluster of this one",
        )
    if at(cluster, "status", "state") != "ready":
        state = at(cluster, "status", "state") or "not ready"
        why = at(cluster, "status", "reason")
        yield Problem(
            subject="ray_cluster",
            message=f"RayCluster {name!r} is {state}" + (f": {why}" if why else ""),
            remedy=f"see why: `kubectl describe raycluster {name}`",
        )


def _missing(subject: str, kind: str, name: str, there: Sequence[str], how: str) -> Problem:
    create = f"`{how} {name} ...`" if how.startswith("kubectl") else f"{how} it"
    return Problem(
        subject=subject,
        message=f"there is no {kind} {name!r}" + _meant(name, there),
        remedy=f"correct the name in the profile, or {create}",
    )


def _meant(name: str, there: Sequence[str]) -> str:
    near = get_close_matches(name, there, 1)
    return f"; meant: {near[0]}?" if near else ""


def _at_path(api: Api, path: str) -> Object | None:
    try:
        return api.transport.ask("GET", path)
    except NotFoundError:
        return None


def _names(api: Api, path: str) -> list[str]:
    try:
        return [each["metadata"]["name"] for each in api.select_at(path)]
    except (ForbiddenError, NotFoundError):
        return []
