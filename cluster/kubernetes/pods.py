"""The pods of a submission as plain data: head, workers, submitter; makes no API call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cluster.kubernetes.parts import (
    BUNDLE,
    CONFIG,
    CONTAINER_SECURITY,
    ROOT,
    Sending,
    amounts,
    environment,
    exactly,
    in_bytes,
    mebibytes,
    mounts,
    pod_spec,
    volumes,
)
from cluster.kubernetes.patching import patched
from cluster.profile import OBJECT_STORE_SHARE, Bucket, Head, Profile, WorkerGroup

_API_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
_TOKEN_LIFETIME_S = 3607
"""As the API server asks for where it mounts a token by itself."""
_SHM_USABLE = 0.95
"""Ray fills no more of `/dev/shm` (`ray._private.utils.resolve_object_store_memory`)."""
_RAY_ENV = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_JOB_STOP_WAIT_TIME_S": "30"}
"""Nothing is reported to Ray's makers, as on a laptop; and a driver that is told to stop has time
to end its jobs and write down the end (Ray kills it after 3 s otherwise)."""
_LAST_WORDS = "FallbackToLogsOnError"
"""A container that fails leaves the end of its log in the pod's status."""
_MARGIN_S = 10
"""What is left of a pod's grace period when its jobs have ended."""
_FETCHING = {"cpu": "500m", "memory": "512Mi"}
_PODS_PER_CORE = 200
"""Of the autoscaler, which goes through all pods every few seconds."""
_SUBMITTER = {"cpu": "500m", "memory": "1Gi"}


def head_group(sending: Sending) -> dict[str, Any]:
    """Return the group of Ray's head: the driver runs here, and no trial."""
    head = sending.profile.head
    shm_gib = head.memory_gib * OBJECT_STORE_SHARE
    container = {
        "name": "ray-head",
        "ports": [
            {"name": "gcs-server", "containerPort": 6379},
            {"name": "dashboard", "containerPort": 8265},
        ],
        "resources": exactly(amounts(head.num_cpus, head.memory_gib)),
    }
    template = _ray_pod(sending, head, container, shm_gib)
    template["metadata"]["annotations"] |= {
        # When nodes are consolidated, the head must not be taken for a pod that can be moved.
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        "karpenter.sh/do-not-disrupt": "true",
    }
    if is_autoscaled(sending.profile):
        template["spec"]["volumes"].append({"name": "api-token", "projected": _api_token()})
    return {
        "rayStartParams": {
            "dashboard-host": "0.0.0.0",  # noqa: S104 - behind its Service, asks for the token
            "num-cpus": "0",
            "object-store-memory": in_bytes(shm_gib * _SHM_USABLE),
        },
        "template": patched(template, head.pod_patch),
    }


def worker_group(sending: Sending, name: str, priority: int) -> dict[str, Any]:
    """Return one group of workers.

    What Ray offers of a pod is said in its start params, since KubeRay would offer all of the
    pod's memory, of which `/dev/shm` is a part, and knows accelerators by the end `gpu` only.

    Args:
        sending: The submission.
        name: The group's name in the profile.
        priority: Among groups on which a job fits, the autoscaler fills the highest first; 0
            leaves the key out, which KubeRay knows from 1.7 on.
    """
    profile = sending.profile
    group = profile.workers[name]
    resources = amounts(group.num_cpus, group.memory_gib)
    params = {
        "num-cpus": str(int(group.pod.num_cpus)),
        "memory": in_bytes(group.pod.memory_gib),
        "object-store-memory": in_bytes(group.object_store_gib * _SHM_USABLE),
    }
    if group.num_gpus:
        resources[group.gpu_resource] = params["num-gpus"] = str(group.num_gpus)
    container = {
        "name": "ray-worker",
        "resources": exactly(resources),
        "lifecycle": {"preStop": {"exec": {"command": _preempt(profile.grace_period_s)}}},
    }
    template = _ray_pod(sending, group, container, group.object_store_gib)
    fewest = group.min_replicas if is_autoscaled(profile) else group.max_replicas
    made = {
        "groupName": name,
        "replicas": fewest,
        "minReplicas": fewest,
        "maxReplicas": group.max_replicas,
        "rayStartParams": params,
        "template": patched(template, group.pod_patch),
    }
    return made | ({"priority": priority} if priority else {})


def submitter_pod(
    sending: Sending, entrypoint: str, runtime_env: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the pod that hands the driver to Ray and prints its output.

    KubeRay adds where the head is, the job's id and Ray's token.
    """
    text = text_of("cluster.kubernetes.submitter")
    container = {
        "name": "ray-job-submitter",
        "image": sending.profile.image,
        "command": ["python", "-c", text, entrypoint, json.dumps(runtime_env)],
        "resources": exactly(_SUBMITTER),
        "securityContext": CONTAINER_SECURITY,
    }
    spec = pod_spec(sending.profile, sending.profile.head)
    return {"metadata": _metadata(sending), "spec": {**spec, "containers": [container]}}


def autoscaler_options(profile: Profile) -> dict[str, Any]:
    """Return the settings of the autoscaler, the one container with a token of the API server."""
    return {
        "version": "v2",
        "idleTimeoutSeconds": profile.idle_timeout_s,
        "upscalingMode": "Default",
        "resources": exactly(amounts(*_autoscaler_size(profile))),
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "api-token", "mountPath": _API_TOKEN, "readOnly": True}],
    }


def _autoscaler_size(profile: Profile) -> tuple[float, float]:
    """Return cores and GiB that the autoscaler needs for the most pods that there may be."""
    num_pods = sum(group.max_replicas for group in profile.workers.values())
    num_cpus = min(4.0, max(0.5, num_pods / _PODS_PER_CORE))
    return num_cpus, 2 * num_cpus


def is_autoscaled(profile: Profile) -> bool:
    """Return whether Ray's autoscaler runs.

    Kueue admits a RayJob with an autoscaler only as an elastic job.
    """
    return profile.queue is None or profile.elastic


def _ray_pod(
    sending: Sending, place: Head | WorkerGroup, container: Mapping[str, Any], shm_gib: float
) -> dict[str, Any]:
    profile = sending.profile
    env = environment(profile)
    own_env = [
        {"name": name, "value": value}
        for name, value in {"PYTHONPATH": BUNDLE, **_RAY_ENV}.items()
        if name not in profile.env
    ]
    ray = {
        **container,
        "image": profile.image,
        **env,
        "env": [*own_env, *env["env"]],
        "volumeMounts": [
            *mounts(profile),
            {"name": "shared-mem", "mountPath": "/dev/shm"},  # noqa: S108 - not for files
        ],
        "terminationMessagePolicy": _LAST_WORDS,
        "securityContext": CONTAINER_SECURITY,
    }
    shm = {"medium": "Memory", "sizeLimit": mebibytes(shm_gib)}
    spec = {
        **pod_spec(profile, place),
        "terminationGracePeriodSeconds": profile.grace_period_s,
        "initContainers": [_fetching(sending)],
        "containers": [ray],
        "volumes": [*volumes(sending), {"name": "shared-mem", "emptyDir": shm}],
    }
    return {"metadata": _metadata(sending), "spec": spec}


def _fetching(sending: Sending) -> dict[str, Any]:
    """Return the init container that puts the files in place."""
    profile = sending.profile
    found = [{"name": "bundle", "mountPath": ROOT}]
    if not isinstance(profile.storage, Bucket):
        found.append({"name": "config", "mountPath": CONFIG})
    text = text_of("cluster.bootstrap")
    digest = sending.submission.bundle.digest
    return {
        "name": "fetch-bundle",
        "image": profile.image,
        "command": ["python", "-c", text, sending.source, digest, BUNDLE],
        **environment(profile),
        "resources": exactly(_FETCHING),
        "volumeMounts": found,
        "terminationMessagePolicy": _LAST_WORDS,
        "securityContext": CONTAINER_SECURITY,
    }


def text_of(module: str) -> str:
    """Return the text of a module that runs in pods, and may import what is not here."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no module {module!r}")
    return Path(spec.origin).read_text(encoding="utf-8")


def _preempt(grace_period_s: int) -> list[str]:
    grace_s = grace_period_s - min(_MARGIN_S, grace_period_s // 2)
    return ["python", "-m", "cluster.preempt", "--grace-s", str(grace_s)]


def _metadata(sending: Sending) -> dict[str, Any]:
    return {key: dict(part) for key, part in sending.metadata.items()}


def _api_token() -> dict[str, Any]:
    """Return what the API server mounts into all containers unless a pod forbids it."""
    token = {"path": "token", "expirationSeconds": _TOKEN_LIFETIME_S}
    certificate = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    namespace = {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}
    return {
        "sources": [
            {"serviceAccountToken": token},
            {"configMap": certificate},
            {"downwardAPI": {"items": [namespace]}},
        ]
    }
