"""What would be refused, or never placed, told before a pod is asked for; makes no API call.

KubeRay looks at a RayJob after the API server has taken it, and says in an event what it does not
like; so its rules are kept here too. Source: `ValidateRayJobSpec` of KubeRay 1.7 and the webhook
of Kueue 0.18 for RayJobs.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cluster import naming
from cluster.job import Resources
from cluster.kubernetes.group_rules import group_problems
from cluster.kubernetes.manifest import ELASTIC
from cluster.kubernetes.parts import RESERVED
from cluster.profile import OBJECT_STORE_SHARE, Profile, SecretKey, Volume, WorkerGroup
from cluster.target import Problem

MAX_BUNDLE_BYTES = 1_000_000
"""Kubernetes takes 1 MiB in a ConfigMap, its metadata included."""

_MAX_GROUPS = 7
"""A workload of Kueue has 8 sets of pods, one of them the head's."""
_RAY_WITH_TOKENS = (2, 52)


def rule_problems(manifest: Mapping[str, Any]) -> list[Problem]:
    """Return what KubeRay, Kueue or Kubernetes would refuse in an object, beyond its schema."""
    if manifest.get("kind") == "ConfigMap":
        return list(_config_map(manifest))
    spec = manifest.get("spec") or {}
    cluster = spec.get("rayClusterSpec")
    found = [*_name(manifest), *_ends(spec), *_mode(spec), *_numbers(spec)]
    found += _queue(manifest, spec)
    if cluster is not None:
        found += [*_authentication(cluster), *group_problems(cluster)]
    return found


def profile_problems(profile: Profile) -> list[Problem]:
    """Return what a profile asks for that its kind of cluster cannot have."""
    found = [
        Problem(
            subject=f"env.{name}",
            message=f"{name} is set by fanflare or Ray in every pod",
            remedy="take it out of `env`",
        )
        for name in profile.env
        if name in RESERVED
    ]
    if profile.elastic and profile.queue is None:
        found.append(
            Problem(
                subject="elastic",
                message="`elastic` is about a queue, and no `queue` is given",
                remedy="take it out: without a queue workers come and go with the work anyway",
            )
        )
    return found + (list(_on_cluster(profile)) if profile.ray_cluster else [])


def placement_problems(shapes: Sequence[Resources], profile: Profile) -> list[Problem]:
    """Return the shapes of jobs that no pod of any group can hold: Ray would wait for ever.

    A pod offers to jobs its cores, its accelerators, and its memory without `/dev/shm`, in which
    Ray keeps objects. Of a RayCluster that is there nothing is known here.
    """
    if profile.ray_cluster or not profile.workers:
        return []
    groups = profile.workers.values()
    return [
        _misplaced(shape, profile)
        for shape in shapes
        if not any(shape.fits(group.pod) for group in groups)
    ]


def told(resources: Resources) -> str:
    """Return resources in words, as `2 cores, 1 GPU, 12 GiB`."""
    parts = [f"{resources.num_cpus:g} core{'s' * (resources.num_cpus != 1)}"]
    if resources.num_gpus:
        parts.append(f"{resources.num_gpus:g} GPU{'s' * (resources.num_gpus > 1)}")
    if resources.memory_gib:
        parts.append(f"{resources.memory_gib:.3g} GiB")
    return ", ".join(parts)


def _misplaced(shape: Resources, profile: Profile) -> Problem:
    name, group = max(profile.workers.items(), key=lambda item: _closeness(shape, item[1]))
    pod = group.pod
    changes = []
    if shape.num_cpus > pod.num_cpus:
        changes.append(f"num_cpus: {shape.num_cpus:g}")
    if shape.num_gpus > pod.num_gpus:
        changes.append(f"num_gpus: {shape.num_gpus:g}")
    if shape.memory_gib > pod.memory_gib:
        whole = shape.memory_gib + group.object_store_gib
        if group.shm_gib is None:
            whole = shape.memory_gib / (1 - OBJECT_STORE_SHARE)
        changes.append(f"memory_gib: {_rounded_up(whole)}")
    return Problem(
        subject=f"workers.{name}",
        message=f"a job asks for {told(shape)}; the largest pod, of group {name!r}, "
        f"offers {told(pod)}"
        + (" (its memory less `/dev/shm`)" if shape.memory_gib > pod.memory_gib else ""),
        remedy=f"give workers.{name} at least {', '.join(changes)}, "
        "or ask for less in the sweep's `resources`",
    )


def _closeness(shape: Resources, group: WorkerGroup) -> tuple[int, float, float, float]:
    pod = group.pod
    enough = (
        (shape.num_gpus <= pod.num_gpus)
        + (shape.memory_gib <= pod.memory_gib)
        + (shape.num_cpus <= pod.num_cpus)
    )
    return enough, pod.num_gpus, pod.memory_gib, pod.num_cpus


def _rounded_up(gib: float) -> int:
    return -int(-gib // 1)


def _config_map(manifest: Mapping[str, Any]) -> Iterator[Problem]:
    parts = (manifest.get("binaryData") or {}).values()
    size = sum(len(base64.b64decode(part)) for part in parts)
    if size > MAX_BUNDLE_BYTES:
        yield Problem(
            subject="storage",
            message=f"the sweep's files and code are {size:,} bytes as a zip; through a volume "
            f"{MAX_BUNDLE_BYTES:,} can travel, the size of a ConfigMap",
            remedy="put large data on the volume and name it by its path there, or take "
            "`storage: {uri: s3://...}`",
        )


def _name(manifest: Mapping[str, Any]) -> Iterator[Problem]:
    name = str((manifest.get("metadata") or {}).get("name", ""))
    if len(name) > naming.MAX_NAME or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        yield Problem(
            subject="metadata.name",
            message=f"{name!r} is no name for a RayJob",
            remedy=f"take small letters, digits and `-`, a letter first, at most "
            f"{naming.MAX_NAME} characters",
        )


def _ends(spec: Mapping[str, Any]) -> Iterator[Problem]:
    ends_cluster = bool(spec.get("shutdownAfterJobFinishes"))
    ttl = spec.get("ttlSecondsAfterFinished") or 0
    if ttl > 0 and not ends_cluster:
        yield _refused("ttlSecondsAfterFinished", "needs shutdownAfterJobFinishes: true")
    if ttl < 0:
        yield _refused("ttlSecondsAfterFinished", "is below 0")
    if spec.get("suspend") and not ends_cluster:
        yield _refused("suspend", "needs shutdownAfterJobFinishes: true")
    if (spec.get("deletionStrategy") or {}).get("deletionRules") and ends_cluster:
        yield _refused("deletionStrategy", "excludes shutdownAfterJobFinishes: true")


def _mode(spec: Mapping[str, Any]) -> Iterator[Problem]:
    mode = spec.get("submissionMode")
    selector = spec.get("clusterSelector")
    if not selector and spec.get("rayClusterSpec") is None:
        yield _refused("rayClusterSpec", "or clusterSelector is needed")
    if selector:
        yield from _selected(spec)
    if mode == "InteractiveMode" and spec.get("backoffLimit"):
        yield _refused("backoffLimit", "excludes InteractiveMode")
    if mode == "SidecarMode":
        for key in ("submitterPodTemplate", "submitterConfig"):
            if spec.get(key):
                yield _refused(key, "excludes SidecarMode")


def _selected(spec: Mapping[str, Any]) -> Iterator[Problem]:
    if not spec["clusterSelector"].get("ray.io/cluster"):
        yield _refused("clusterSelector", "needs a name under ray.io/cluster")
    for key in ("suspend", "backoffLimit"):
        if spec.get(key):
            yield _refused(key, "is not for a cluster that is there")
    if spec.get("submissionMode") == "SidecarMode":
        yield _refused("submissionMode", "SidecarMode is not for a cluster that is there")


def _numbers(spec: Mapping[str, Any]) -> Iterator[Problem]:
    for key in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if spec.get(key, 1) <= 0:
            yield _refused(key, "has to be above 0")
    if spec.get("backoffLimit", 0) < 0:
        yield _refused("backoffLimit", "is below 0")


def _queue(manifest: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[Problem]:
    metadata = manifest.get("metadata") or {}
    cluster = spec.get("rayClusterSpec")
    if naming.QUEUE not in (metadata.get("labels") or {}) or cluster is None:
        return
    if spec.get("suspend") is not None:
        yield _refused("suspend", "is Kueue's to set where there is a queue")
    if not spec.get("shutdownAfterJobFinishes"):
        yield _refused("shutdownAfterJobFinishes", "has to be true where there is a queue")
    if len(cluster.get("workerGroupSpecs") or []) > _MAX_GROUPS:
        yield Problem(
            subject="workers",
            message=f"Kueue takes no more than {_MAX_GROUPS} worker groups",
            remedy="leave some out, or run without `queue`",
        )
    elastic = (metadata.get("annotations") or {}).get(ELASTIC) == "true"
    if cluster.get("enableInTreeAutoscaling") and not elastic:
        yield Problem(
            subject="queue",
            message="Kueue takes a RayJob with an autoscaler only as an elastic job",
            remedy="say `elastic: true` (Kueue 0.18 or later), or leave the autoscaler out",
        )


def _authentication(cluster: Mapping[str, Any]) -> Iterator[Problem]:
    options = cluster.get("authOptions") or {}
    release = tuple(int(part) for part in re.findall(r"\d+", cluster.get("rayVersion", ""))[:2])
    if options.get("mode") == "token" and release < _RAY_WITH_TOKENS:
        yield _refused("rayClusterSpec.authOptions", "needs Ray 2.52 or later in rayVersion")
    if options.get("enableK8sTokenAuth"):
        yield _refused("rayClusterSpec.authOptions", "enableK8sTokenAuth is not for a RayJob")


def _on_cluster(profile: Profile) -> Iterator[Problem]:
    by_secret = [key for key, value in profile.env.items() if isinstance(value, SecretKey)]
    if by_secret or profile.env_secrets:
        yield Problem(
            subject="env" if by_secret else "env_secrets",
            message=f"pods of the RayCluster {profile.ray_cluster!r} run already: no Secret can "
            "be given to them",
            remedy="put the Secret into the RayCluster's own pod templates, and take it out here",
        )
    if any("$" in value or "`" in value for value in profile.env.values() if type(value) is str):
        yield Problem(
            subject="env",
            message="on a RayCluster that is there, KubeRay passes values through a shell, which "
            "would read `$` and backquotes",
            remedy="put such variables into the RayCluster's own pod templates",
        )
    if isinstance(profile.storage, Volume):
        yield Problem(
            subject="storage",
            message=f"pods of the RayCluster {profile.ray_cluster!r} run already: no volume can be "
            "mounted in them",
            remedy="take `storage: {uri: s3://...}`, or leave `ray_cluster` out",
        )
    if profile.queue:
        yield Problem(
            subject="queue",
            message="Kueue does not queue jobs of a RayCluster that is there",
            remedy="take `queue` out, or leave `ray_cluster` out",
        )


def _refused(key: str, why: str) -> Problem:
    return Problem(
        subject=f"spec.{key}",
        message=f"KubeRay refuses this RayJob: {key} {why}",
        remedy="correct it in the manifest",
    )
