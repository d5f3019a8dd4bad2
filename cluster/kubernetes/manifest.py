"""A submission as Kubernetes objects: pure data from (submission, profile); makes no API call."""

from __future__ import annotations

import base64
import json
from importlib.metadata import version
from typing import Any

from cluster import naming
from cluster.kubernetes.parts import BUNDLE, BUNDLE_KEY, Sending
from cluster.kubernetes.pods import (
    autoscaler_options,
    head_group,
    is_autoscaled,
    submitter_pod,
    worker_group,
)
from cluster.profile import Profile, SecretKey, Volume
from cluster.target import Submission

ELASTIC = "kueue.x-k8s.io/elastic-job"


def manifests(submission: Submission, profile: Profile, *, number: int = 1) -> list[dict[str, Any]]:
    """Return all objects of a submission in the order in which they are made."""
    made = [config_map(submission, profile, number=number)]
    return [part for part in made if part] + [rayjob(submission, profile, number=number)]


def rayjob(submission: Submission, profile: Profile, *, number: int = 1) -> dict[str, Any]:
    """Return the RayJob: with a cluster of its own, or for one that is there (`ray_cluster`)."""
    sending = Sending(submission=submission, profile=profile, number=number)
    metadata: dict[str, Any] = {
        "name": sending.name,
        "namespace": profile.namespace,
        "labels": dict(sending.metadata["labels"]),
        "annotations": dict(sending.metadata["annotations"]),
    }
    if profile.ray_cluster:
        spec = _on_cluster(sending, profile.ray_cluster)
    else:
        spec = _with_cluster(sending)
        if profile.queue:
            metadata["labels"][naming.QUEUE] = profile.queue
            if profile.elastic:
                metadata["annotations"][ELASTIC] = "true"
    made = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": metadata, "spec": spec}
    # Parts that pods share become copies, which YAML would else write as references.
    return dict(json.loads(json.dumps(made)))


def config_map(
    submission: Submission, profile: Profile, *, number: int = 1
) -> dict[str, Any] | None:
    """Return the ConfigMap in which the files travel to a volume, None where a bucket has them."""
    if not isinstance(profile.storage, Volume):
        return None
    sending = Sending(submission=submission, profile=profile, number=number)
    content = base64.b64encode(submission.bundle.content).decode()
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": sending.name,
            "namespace": profile.namespace,
            "labels": dict(sending.metadata["labels"]),
            "annotations": dict(sending.metadata["annotations"]),
        },
        "binaryData": {BUNDLE_KEY: content},
        "immutable": True,
    }


def _with_cluster(sending: Sending) -> dict[str, Any]:
    profile = sending.profile
    # KubeRay may put this text into a shell's line: no word of it may mean something there.
    entrypoint = f"env --chdir={BUNDLE} python -m {sending.submission.module}"
    spec: dict[str, Any] = {
        "entrypoint": entrypoint,
        "submissionMode": "K8sJobMode",
        "shutdownAfterJobFinishes": True,
        # KubeRay's TTL is that of the cluster, which would hold its head all the while.
        "ttlSecondsAfterFinished": 0,
        "backoffLimit": profile.max_retries,
    }
    if profile.deadline_s:
        spec["activeDeadlineSeconds"] = profile.deadline_s
    if profile.start_deadline_s:
        spec["preRunningDeadlineSeconds"] = profile.start_deadline_s
    spec["submitterPodTemplate"] = submitter_pod(sending, entrypoint, {})
    spec["rayClusterSpec"] = _ray_cluster(sending)
    return spec


def _ray_cluster(sending: Sending) -> dict[str, Any]:
    profile = sending.profile
    scaling: dict[str, Any] = {"enableInTreeAutoscaling": is_autoscaled(profile)}
    if is_autoscaled(profile):
        scaling["autoscalerOptions"] = autoscaler_options(profile)
    # Spot first: the autoscaler takes the group of the highest priority, the queue the first.
    names = sorted(profile.workers, key=lambda name: not profile.workers[name].spot)
    is_mixed = len({group.spot for group in profile.workers.values()}) > 1
    prefers = is_mixed and is_autoscaled(profile)
    return {
        "rayVersion": version("ray"),
        # KubeRay makes a token for each cluster, keeps it in a Secret of the cluster's name, and
        # gives it to all of Ray's containers and to the submitter (KubeRay 1.5.1 and later).
        "authOptions": {"mode": "token"},
        **scaling,
        "headGroupSpec": head_group(sending),
        "workerGroupSpecs": [
            worker_group(sending, name, int(prefers and profile.workers[name].spot))
            for name in names
        ],
    }


def _on_cluster(sending: Sending, cluster: str) -> dict[str, Any]:
    """Return the spec for a RayCluster that is there: its pods fetch the files by Ray's own means.

    KubeRay refuses `backoffLimit` and `suspend` here; `shutdownAfterJobFinishes`, and with it a
    TTL, would be about a cluster that is not ours.
    """
    profile = sending.profile
    plain = {key: value for key, value in profile.env.items() if not isinstance(value, SecretKey)}
    entrypoint = f"python -m {sending.submission.module}"
    # The working folder is the driver's current folder, and on its path.
    runtime_env: dict[str, Any] = {"working_dir": sending.source.partition("?")[0]}
    runtime_env |= {"env_vars": plain} if plain else {}
    spec: dict[str, Any] = {
        "entrypoint": entrypoint,
        "submissionMode": "K8sJobMode",
        "clusterSelector": {"ray.io/cluster": cluster},
        "runtimeEnvYAML": json.dumps(runtime_env),  # JSON is YAML
    }
    if profile.deadline_s:
        spec["activeDeadlineSeconds"] = profile.deadline_s
    if profile.start_deadline_s:
        spec["preRunningDeadlineSeconds"] = profile.start_deadline_s
    if profile.image:
        spec["submitterPodTemplate"] = submitter_pod(sending, entrypoint, runtime_env)
    return spec
