"""KubeRay's rules about head, groups and their pods, as the schema cannot say them; pure.

Source: `ray-operator/controllers/ray/utils/validation.go` of KubeRay 1.7, and Ray's guides.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from cluster.target import Problem

Group = tuple[str, Mapping[str, Any]]
"""A group with its path in the manifest."""

_RAY_CONTAINERS = ("ray-head", "ray-worker")
_AUTOSCALER_V2 = "RAY_enable_autoscaler_v2"
_REDIS = ("RAY_REDIS_ADDRESS", "REDIS_USERNAME")
_RESERVED_GROUPS = ("head", "headgroup")
"""Kueue and KubeRay call the head's pods so."""
_RAY_IMAGE = re.compile(r"(?:^|/)ray(?:-ml|-llm)?:(\d+\.\d+\.\d+)\S*?(?:-py(\d)(\d+))?(?:-|$)")
_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def group_problems(cluster: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what KubeRay would refuse in a RayCluster's spec."""
    head = ("spec.rayClusterSpec.headGroupSpec", cluster.get("headGroupSpec") or {})
    workers = [
        (f"spec.rayClusterSpec.workerGroupSpecs[{number}]", group)
        for number, group in enumerate(cluster.get("workerGroupSpecs") or [])
    ]
    yield from _names([group for _, group in workers])
    for group in [head, *workers]:
        yield from _start_params(*group)
        yield from _containers(*group)
        yield from _restart(group, cluster)
        yield from _images(*group, cluster.get("rayVersion", ""))
    for group in workers:
        yield from _replicas(group, cluster)
        yield from _needs_autoscaler(group, cluster)
    yield from _head_environment(head, cluster)


def is_v2(cluster: Mapping[str, Any]) -> bool:
    """Return whether the cluster has the autoscaler of version 2."""
    options = cluster.get("autoscalerOptions") or {}
    return bool(cluster.get("enableInTreeAutoscaling")) and options.get("version") == "v2"


def containers_of(group: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the containers of a group's pod."""
    return list(((group.get("template") or {}).get("spec") or {}).get("containers") or [])


def _names(groups: list[Mapping[str, Any]]) -> Iterator[Problem]:
    names = [str(group.get("groupName", "")) for group in groups]
    for name in names:
        if not _LABEL.fullmatch(name) or name in _RESERVED_GROUPS:
            yield Problem(
                subject=f"workers.{name}",
                message=f"a worker group cannot be called {name!r}",
                remedy="take small letters, digits and `-`, but neither `head` nor `headgroup`",
            )
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem(
            subject=f"workers.{name}",
            message=f"two worker groups are called {name!r}",
            remedy="give each a name of its own",
        )


def _start_params(path: str, group: Mapping[str, Any]) -> Iterator[Problem]:
    params = group.get("rayStartParams") or {}
    for key, value in params.items():
        if not isinstance(value, str):
            yield Problem(
                subject=f"{path}.rayStartParams.{key}",
                message=f"the value {value!r} is no text",
                remedy=f'put it into quotes: "{value}"',
            )
    if "labels" in params:
        yield Problem(
            subject=f"{path}.rayStartParams.labels",
            message="KubeRay takes Ray's labels from the group's own key `labels` only",
            remedy="move them there",
        )
    if group.get("resources") and {"num-cpus", "num-gpus", "memory", "resources"} & set(params):
        yield Problem(
            subject=f"{path}.resources",
            message="Ray's resources are said both here and in `rayStartParams`",
            remedy="say them in one place",
        )


def _containers(path: str, group: Mapping[str, Any]) -> Iterator[Problem]:
    containers = containers_of(group)
    names = [str(container.get("name", "")) for container in containers]
    where = f"{path}.template.spec.containers"
    if not containers:
        yield Problem(
            subject=where, message="the pod has no container", remedy="correct its `pod_patch`"
        )
    if any(name in _RAY_CONTAINERS for name in names[1:]):
        yield Problem(
            subject=where,
            message=f"Ray's container is not the first of {', '.join(names)}",
            remedy="put other containers behind it in `pod_patch`",
        )
    for container in containers:
        resources = container.get("resources") or {}
        limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
        unequal = [
            key for key in limits if key != "cpu" and requests.get(key, limits[key]) != limits[key]
        ]
        unequal += [key for key in requests if key != "cpu" and key not in limits]
        for key in unequal:
            yield Problem(
                subject=f"{where}[{container.get('name')}].resources",
                message=f"{key} is requested as {requests.get(key)} and limited to "
                f"{limits.get(key, 'nothing')}; Ray counts on its limit",
                remedy="make request and limit equal in `pod_patch`",
            )


def _restart(group: Group, cluster: Mapping[str, Any]) -> Iterator[Problem]:
    path, content = group
    policy = ((content.get("template") or {}).get("spec") or {}).get("restartPolicy", "Never")
    if is_v2(cluster) and policy != "Never":
        yield Problem(
            subject=f"{path}.template.spec.restartPolicy",
            message=f"autoscaler v2 needs `Never`, not {policy!r}",
            remedy="take `restartPolicy` out of `pod_patch`",
        )


def _images(path: str, group: Mapping[str, Any], ray_version: str) -> Iterator[Problem]:
    for container in containers_of(group)[:1]:
        image = str(container.get("image", ""))
        found = _RAY_IMAGE.search(image)
        if not found:
            continue
        version, *python = found.groups()
        here = (str(sys.version_info.major), str(sys.version_info.minor))
        if version != ray_version:
            yield Problem(
                subject=f"{path}: image",
                message=f"{image} holds Ray {version}, this machine has Ray {ray_version}",
                remedy="take an image of this version, or install that one here",
            )
        if python[0] and tuple(python) != here:
            yield Problem(
                subject=f"{path}: image",
                message=f"{image} holds Python {'.'.join(python)}, this machine has "
                f"{'.'.join(here)}",
                remedy=f"take an image with `py{''.join(here)}` in its tag",
            )


def _replicas(group: Group, cluster: Mapping[str, Any]) -> Iterator[Problem]:
    path, content = group
    fewest, most = content.get("minReplicas"), content.get("maxReplicas")
    if not cluster.get("enableInTreeAutoscaling") and (fewest is None or most is None):
        yield Problem(
            subject=path,
            message="without autoscaler both minReplicas and maxReplicas are needed",
            remedy="give both",
        )
    for key, value in (("minReplicas", fewest), ("maxReplicas", most)):
        if value is not None and value < 0:
            yield Problem(
                subject=f"{path}.{key}", message=f"{value} is below 0", remedy="give 0 or more"
            )
    if fewest is not None and most is not None and fewest > most:
        yield Problem(
            subject=path,
            message=f"minReplicas {fewest} is more than maxReplicas {most}",
            remedy="raise `max_replicas` or lower `min_replicas`",
        )


def _needs_autoscaler(group: Group, cluster: Mapping[str, Any]) -> Iterator[Problem]:
    path, content = group
    for key in ("idleTimeoutSeconds", "priority"):
        if content.get(key) and not is_v2(cluster):
            yield Problem(
                subject=f"{path}.{key}",
                message=f"{key} is for autoscaler v2 only",
                remedy="leave it out",
            )
    if content.get("priority") and _release(cluster.get("rayVersion", "")) < (2, 56):
        yield Problem(
            subject=f"{path}.priority",
            message=f"priority needs Ray 2.56, here is {cluster.get('rayVersion') or 'none'}",
            remedy="upgrade Ray, or keep to groups that are all spot or all on demand",
        )
    if content.get("suspend") and cluster.get("enableInTreeAutoscaling"):
        yield Problem(
            subject=f"{path}.suspend",
            message="a group cannot be suspended while the autoscaler runs",
            remedy="leave it out",
        )


def _head_environment(head: Group, cluster: Mapping[str, Any]) -> Iterator[Problem]:
    path, content = head
    for container in containers_of(content)[:1]:
        given = {
            variable.get("name"): variable.get("value") for variable in container.get("env") or []
        }
        refused = [name for name in _REDIS if name in given]
        scaling = cluster.get("enableInTreeAutoscaling")
        said_twice = scaling and (cluster.get("autoscalerOptions") or {}).get("version")
        in_vain = not scaling and given.get(_AUTOSCALER_V2) in ("1", "true")
        if _AUTOSCALER_V2 in given and (said_twice or in_vain):
            refused.append(_AUTOSCALER_V2)
        for name in refused:
            yield Problem(
                subject=f"{path}: env {name}",
                message=f"KubeRay refuses {name} in the head's environment",
                remedy="take it out of `env`",
            )


def _release(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])
