"""Whether quota and limit ranges of a namespace leave room for a submission's first pods."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from cluster.kubernetes.api import Api
from cluster.kubernetes.findings import at
from cluster.target import Problem

Object = Mapping[str, Any]
Amounts = dict[str, Decimal]
_AUTOSCALER = {"cpu": "500m", "memory": "512Mi"}
"""What KubeRay gives the autoscaler where the manifest does not say."""
_WAITING = {"cpu": "200m", "memory": "256Mi"}
"""What KubeRay gives the init container that it adds to workers, which waits for the head."""


def limit_range_problems(manifests: Sequence[Object], api: Api) -> Iterator[Problem]:
    """Yield the pods and containers that are larger or smaller than the namespace allows."""
    pods = _pods(manifests)
    for limit_range in api.select("limitranges") if pods else []:
        name = limit_range["metadata"]["name"]
        for item in at(limit_range, "spec", "limits") or []:
            for key, spec in pods.items():
                if item.get("type") == "Pod":
                    yield from _outside(name, item, key, "the pod", _need(spec, "limits"))
                elif item.get("type") == "Container":
                    for container in _containers(spec):
                        who = f"container {container['name']!r}"
                        given = _amounts(at(container, "resources", "limits"))
                        yield from _outside(name, item, key, who, given)


def quota_problems(manifests: Sequence[Object], api: Api) -> Iterator[Problem]:
    """Yield what a quota does not leave for the head, the submitter and one worker of some group.

    Quotas with scopes are left to the API server, which knows whom they are about.
    """
    pods = _pods(manifests)
    workers = [key for key in pods if key.startswith("workers.")]
    if not pods:
        return
    for quota in api.select("resourcequotas"):
        if at(quota, "spec", "scopes") or at(quota, "spec", "scopeSelector"):
            continue
        base = [spec for key, spec in pods.items() if key not in workers]
        tries = [
            list(_short(quota, key, [*base, *([pods[key]] if key else [])]))
            for key in workers or [""]
        ]
        yield from min(tries, key=len)


def _short(quota: Object, group: str, specs: Sequence[Object]) -> Iterator[Problem]:
    used = _amounts(at(quota, "status", "used"))
    hard = _amounts(at(quota, "status", "hard") or at(quota, "spec", "hard"))
    need = _charged(specs)
    for resource, most in hard.items():
        wanted, taken = need.get(resource, Decimal(0)), used.get(resource, Decimal(0))
        if wanted and taken + wanted > most:
            yield Problem(
                subject="quota",
                message=f"quota {quota['metadata']['name']!r} allows {_told(most)} {resource}, "
                f"{_told(taken)} are used, and the head with one worker"
                f"{f' of `{group}`' if group else ''} needs {_told(wanted)}",
                remedy="ask for less in the profile, or have the quota raised"
                if wanted > most
                else "wait until others end, ask for less, or have the quota raised",
            )


def _charged(specs: Sequence[Object]) -> Amounts:
    """Return what a quota counts for pods and for the objects about them."""
    charged: defaultdict[str, Decimal] = defaultdict(Decimal)
    for spec in specs:
        for resource, amount in _need(spec, "requests").items():
            charged[f"requests.{resource}"] += amount
            if resource in ("cpu", "memory"):
                charged[resource] += amount
        for resource, amount in _need(spec, "limits").items():
            charged[f"limits.{resource}"] += amount
    for key in ("pods", "count/pods"):
        charged[key] = Decimal(len(specs))
    for key in ("rayjobs.ray.io", "rayclusters.ray.io", "jobs.batch"):
        charged[f"count/{key}"] = Decimal(1)
    return charged


def _pods(manifests: Sequence[Object]) -> dict[str, Object]:
    """Return the pod specs of a submission by their part of the profile."""
    spec = manifests[-1]["spec"]
    cluster = spec.get("rayClusterSpec")
    found: dict[str, Object] = {}
    if spec.get("submitterPodTemplate"):
        found["submitter"] = spec["submitterPodTemplate"]["spec"]
    if cluster:
        head = dict(cluster["headGroupSpec"]["template"]["spec"])
        if cluster.get("enableInTreeAutoscaling"):
            given = at(cluster, "autoscalerOptions", "resources")
            resources = given or {"requests": _AUTOSCALER, "limits": _AUTOSCALER}
            head["containers"] = [
                *head["containers"],
                {"name": "autoscaler", "resources": resources},
            ]
        found["head"] = head
        waiting: dict[str, Any] = {"name": "wait-gcs-ready"}
        waiting["resources"] = {"requests": _WAITING, "limits": _WAITING}
        for group in cluster["workerGroupSpecs"]:
            worker = dict(group["template"]["spec"])
            worker["initContainers"] = [*(worker.get("initContainers") or []), waiting]
            found[f"workers.{group['groupName']}"] = worker
    return found


def _need(spec: Object, kind: str) -> Amounts:
    """Return what a pod asks for: its containers together, or its largest init container."""
    together: Amounts = {}
    for container in spec.get("containers") or []:
        for resource, amount in _amounts(at(container, "resources", kind)).items():
            together[resource] = together.get(resource, Decimal(0)) + amount
    for container in spec.get("initContainers") or []:
        for resource, amount in _amounts(at(container, "resources", kind)).items():
            together[resource] = max(together.get(resource, Decimal(0)), amount)
    return together


def _containers(spec: Object) -> list[Object]:
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


def _outside(name: str, item: Object, key: str, who: str, given: Amounts) -> Iterator[Problem]:
    for resource, most in _amounts(item.get("max")).items():
        if given.get(resource, Decimal(0)) > most:
            yield Problem(
                subject=key,
                message=f"{who} asks for {_told(given[resource])} {resource}, LimitRange {name!r} "
                f"allows at most {item['max'][resource]}",
                remedy="make it smaller in the profile, or have the limit raised",
            )
    for resource, least in _amounts(item.get("min")).items():
        if resource in given and given[resource] < least:
            yield Problem(
                subject=key,
                message=f"{who} asks for {_told(given[resource])} {resource}, LimitRange {name!r} "
                f"wants at least {item['min'][resource]}",
                remedy="make it larger in the profile",
            )


def _amounts(given: Mapping[str, Any] | None) -> Amounts:
    return {resource: parse_quantity(amount) for resource, amount in (given or {}).items()}


def _told(amount: Decimal) -> str:
    """Return an amount as a person writes it: in GiB where it is that large."""
    if amount >= 2**26:
        return f"{amount / 2**30:.4g}Gi"
    return f"{amount:f}".rstrip("0").rstrip(".") if "." in f"{amount:f}" else f"{amount:f}"
