"""A small pod that mounts a claim where no head does: made, waited for, removed; reads nothing."""

from __future__ import annotations

import getpass
import platform
import time
import uuid
from collections.abc import Callable
from typing import Any

from cluster import naming
from cluster.kubernetes.api import Api
from cluster.kubernetes.findings import READER, at
from cluster.kubernetes.parts import CONTAINER_SECURITY, STORE, exactly, pod_spec
from cluster.kubernetes.patching import patched
from cluster.kubernetes.symptoms import findings
from cluster.kubernetes.transport import Object
from cluster.profile import Profile, Volume
from cluster.target import TargetError

LIFETIME_S = 3600
"""After so long the pod ends, whatever became of who made it."""
WAIT_S = 300.0
"""How long it may take to start: the image may have to be pulled."""
_POLL_S = 1.0
_SIZE = {"cpu": "500m", "memory": "512Mi"}
_SELECTOR = f"{naming.MANAGED_BY}={naming.MANAGER},{naming.ROLE}={READER}"
_ELSEWHERE = ("containers", "initContainers", "volumes")
"""Parts of the head's patch that are about its containers, and not about where it may be."""


def reader_pod(profile: Profile, name: str, store: str, owner: Object | None) -> dict[str, Any]:
    """Return a pod that sleeps beside a claim, which it may only read.

    Args:
        profile: The cluster; its storage is a volume.
        name: The sweep.
        store: The store as the cluster sees it.
        owner: The RayJob with which it goes at the latest, if there is one.

    Raises:
        TargetError: The profile does not say enough for a pod.
    """
    if not isinstance(profile.storage, Volume) or not profile.image:
        raise TargetError(
            "to read the volume a pod is needed, and for that `storage.pvc` and `image` in the "
            "profile"
        )
    labels = naming.labels(name, store, f"{getpass.getuser()}@{platform.node()}")
    metadata: dict[str, Any] = {"labels": {**labels, naming.ROLE: READER}}
    template = {"metadata": metadata, "spec": _spec(profile, profile.storage.pvc)}
    patch = dict(profile.head.pod_patch)
    given = patch.get("spec") or {}
    patch["spec"] = {key: part for key, part in given.items() if key not in _ELSEWHERE}
    made = patched(template, patch)
    made["metadata"]["name"] = f"ff-read-{naming.sweep_id(name, store)}-{uuid.uuid4().hex[:5]}"
    if owner is not None:
        about = {key: owner["metadata"][key] for key in ("name", "uid")}
        made["metadata"]["ownerReferences"] = [
            {"apiVersion": "ray.io/v1", "kind": "RayJob", **about}
        ]
    return {"apiVersion": "v1", "kind": "Pod", **made}


def _spec(profile: Profile, claim: str) -> dict[str, Any]:
    container = {
        "name": READER,
        "image": profile.image,
        "command": ["python", "-c", f"import time; time.sleep({LIFETIME_S})"],
        "resources": exactly(_SIZE),
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "store", "mountPath": STORE, "readOnly": True}],
    }
    return {
        **pod_spec(profile, profile.head),
        "activeDeadlineSeconds": LIFETIME_S,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{"name": "store", "persistentVolumeClaim": {"claimName": claim}}],
    }


def is_ready(pod: Object | None, container: str) -> bool:
    """Return whether a container of a pod can take commands."""
    if pod is None or at(pod, "metadata", "deletionTimestamp"):
        return False
    statuses = at(pod, "status", "containerStatuses") or []
    return any(each.get("name") == container and each.get("ready") for each in statuses)


def wait_for(api: Api, name: str, say: Callable[[str], None]) -> None:
    """Wait until a reader pod can take commands.

    Raises:
        TargetError: It did not start in time, or is gone; the message says why and what to do.
    """
    told, deadline = "", time.monotonic() + WAIT_S
    while not is_ready(pod := api.get("pods", name), READER):
        message, action = _obstacle(api, pod, name)
        if message != told:
            say(message)
            told = message
        ended = pod is None or at(pod, "status", "phase") in ("Failed", "Succeeded")
        if ended or time.monotonic() > deadline:
            raise TargetError(f"the volume cannot be read: {message}; {action}")
        api.sleep(_POLL_S)


def remove_ended(api: Api) -> None:
    """Remove reader pods whose makers were lost, and whose time is over."""
    for pod in api.select("pods", selector=_SELECTOR):
        if at(pod, "status", "phase") in ("Failed", "Succeeded"):
            api.delete("pods", pod["metadata"]["name"])


def _obstacle(api: Api, pod: Object | None, name: str) -> tuple[str, str]:
    """Return what keeps a reader pod from its start, and what to do about it."""
    if pod is None:
        return f"pod {name}, which was to read it, was removed", "ask again"
    events = api.select("events", fields=f"involvedObject.name={name}")
    found = findings([pod], events)
    if found:
        # These are the words about a submission; a reader is made anew by asking again.
        action = found[0].action.removeprefix("cancel, ").replace("submit again", "ask again")
        return found[0].message, action or "ask again later"
    phase = str(at(pod, "status", "phase") or "Pending")
    return (
        f"pod {name}, which reads the volume, is {phase.lower()}: no head of the sweep runs",
        "ask again later, or see `kubectl get events`",
    )
