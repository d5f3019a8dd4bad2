"""What is wrong with pods, from their status and from events; pure, and not what follows for a job.

Source of the reasons: Kubernetes, "Debug Pods" and "Pod Lifecycle"; the scheduler's and the
kubelet's own messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from cluster.kubernetes.findings import (
    HEAD,
    READER,
    SUBMITTER,
    WORKER,
    Finding,
    Object,
    at,
    by_time,
    last_line,
    refusals,
    removals,
)
from cluster.naming import ROLE

RAY_CONTAINERS = ("ray-head", "ray-worker")
_IMAGE = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
_CONFIG = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
_MOUNTS = {"FailedMount", "FailedAttachVolume", "FailedMapVolume"}
_TAKEN_AWAY = {"Preempted", "Preempting", "Evicted", "NodeShutdown", "Shutdown", "NodeLost"}
_DENIED = re.compile(r"access.?denied|forbidden|credential|unauthori[sz]ed|\b40[13]\b", re.I)


def findings(pods: Sequence[Object], events: Sequence[Object]) -> list[Finding]:
    """Return what is wrong, the head's faults first, each pod's gravest one.

    Args:
        pods: Those of the submission.
        events: Those of the submission's objects, in any order.
    """
    found = [*refusals(events), *removals(events)]
    for pod in sorted(pods, key=lambda pod: (HEAD, SUBMITTER, READER, WORKER).index(role_of(pod))):
        if not at(pod, "metadata", "deletionTimestamp"):
            about = [event for event in events if _names(event, pod)]
            found += next(([each] for each in _of_pod(pod, about)), [])
    return list(dict.fromkeys(found))


def role_of(pod: Object) -> str:
    """Return what a pod is for: `head`, `worker`, `submitter` or `reader`."""
    labels = at(pod, "metadata", "labels") or {}
    if labels.get(ROLE) == READER:
        return READER
    kind = labels.get("ray.io/node-type")
    return kind if kind in (HEAD, WORKER) else SUBMITTER


def statuses(pod: Object) -> list[Object]:
    """Return the status of every container, those that run first first."""
    return [
        *(at(pod, "status", "initContainerStatuses") or []),
        *(at(pod, "status", "containerStatuses") or []),
    ]


def fetching_failed(pod: Object) -> dict[str, Any] | None:
    """Return how the init container that fetches the files failed, None where it did not."""
    for status in at(pod, "status", "initContainerStatuses") or []:
        ended = _end(status)
        if ended is not None and ended.get("exitCode"):
            return ended
    return None


def _of_pod(pod: Object, events: Sequence[Object]) -> Iterator[Finding]:
    who, role = _who(pod), role_of(pod)
    for status in statuses(pod):
        yield from _waiting(status, who, role)
    failed = fetching_failed(pod)
    if failed is not None:
        yield _not_fetched(who, role, str(failed.get("message") or ""))
    for status in at(pod, "status", "containerStatuses") or []:
        ended = _end(status) or {}
        if ended.get("reason") == "OOMKilled":
            yield _out_of_memory(pod, status, who, role)
    yield from _taken_away(pod, who, role)
    yield from _unscheduled(pod, events, who, role)
    yield from _unmounted(pod, events, who, role)
    for status in at(pod, "status", "containerStatuses") or []:
        ended = _end(status) or {}
        if ended.get("exitCode") and role != SUBMITTER:
            said = last_line(str(ended.get("message") or ""))
            yield Finding(
                f"{who} ended with exit code {ended['exitCode']}" + (f": {said}" if said else ""),
                f"look at `kubectl logs {_name(pod)} -c {status.get('name')}`",
                role,
            )


def _waiting(status: Object, who: str, role: str) -> Iterator[Finding]:
    waiting = at(status, "state", "waiting") or {}
    reason, said = waiting.get("reason") or "", last_line(waiting.get("message") or "")
    if reason in _IMAGE:
        yield Finding(
            f"{who} cannot pull the image {status.get('image')!r} ({reason})",
            "cancel, correct `image` or `image_pull_secrets` in the profile, and submit again",
            role,
        )
    elif reason in _CONFIG:
        yield Finding(
            f"{who} cannot start: {said or reason}",
            "create what is missing in the namespace, or cancel, correct `env`, `env_secrets` or "
            "`pod_patch` in the profile, and submit again",
            role,
        )


def _not_fetched(who: str, role: str, log: str) -> Finding:
    said = last_line(log)
    if "digest" in said:
        action = "submit again: the files in the store are not those that were sent"
    elif _DENIED.search(said):
        action = (
            "give the pods rights on the store: by `env_secrets` or `env` in the profile, or by a "
            "`service_account` that is bound to them; then cancel and submit again"
        )
    else:
        action = "see that `storage` in the profile can be reached from inside the cluster"
    return Finding(f"{who} could not fetch the files{f': {said}' if said else ''}", action, role)


def _out_of_memory(pod: Object, status: Object, who: str, role: str) -> Finding:
    containers = at(pod, "spec", "containers") or []
    mine: Object = next((each for each in containers if each.get("name") == status.get("name")), {})
    limit = at(mine, "resources", "limits", "memory")
    if status.get("name") not in RAY_CONTAINERS:
        key = f"the memory of container {status.get('name')!r}"
    else:
        key = "`head.memory_gib`" if role == HEAD else f"`workers.{_group(pod)}.memory_gib`"
    return Finding(
        f"{who} ran out of memory{f' ({limit})' if limit else ''} and was killed",
        f"raise {key} in the profile, or ask for less at once, and submit again",
        role,
    )


def _taken_away(pod: Object, who: str, role: str) -> Iterator[Finding]:
    condition = _condition(pod, "DisruptionTarget")
    disrupted = condition.get("status") == "True"
    reason = at(pod, "status", "reason") or (condition.get("reason") if disrupted else "") or ""
    if disrupted or reason in _TAKEN_AWAY:
        left = "its trials go on elsewhere from their checkpoints" if role == WORKER else ""
        yield Finding(
            f"{who} was taken away ({reason})" + (f"; {left}" if left else ""), "", role, False
        )


def _unscheduled(pod: Object, events: Sequence[Object], who: str, role: str) -> Iterator[Finding]:
    condition = _condition(pod, "PodScheduled")
    if at(pod, "status", "phase") != "Pending" or condition.get("status") != "False":
        return
    if condition.get("reason") == "SchedulingGated":
        yield Finding(f"{who} waits for the queue to let it pass", "", role, False)
        return
    reasons = {event.get("reason"): str(event.get("message") or "") for event in by_time(events)}
    if "TriggeredScaleUp" in reasons:
        yield Finding(f"{who} waits for a machine that is being started", "", role, False)
        return
    said = reasons.get("FailedScheduling") or condition.get("message") or "no node for it"
    said = _brief(said)
    action = _for_want_of(said, "head" if role != WORKER else f"workers.{_group(pod)}")
    if "NotTriggerScaleUp" in reasons:
        said += f"; no machine is added: {last_line(reasons['NotTriggerScaleUp'])}"
    yield Finding(f"{who} waits for a node: {said}", action, role)


def without_node(events: Sequence[Object]) -> Finding | None:
    """Return what the scheduler said last, from events alone: the pod itself may be gone."""
    told = [event for event in by_time(events) if event.get("reason") == "FailedScheduling"]
    if not told:
        return None
    is_head = "-head-" in str(at(told[-1], "involvedObject", "name"))
    said = _brief(str(told[-1].get("message") or ""))
    action = _for_want_of(said, "head" if is_head else "workers")
    who = "the head" if is_head else "a worker"
    return Finding(f"{who} waited for a node: {said}", action, HEAD if is_head else WORKER)


def _brief(said: str) -> str:
    """Return what keeps a pod from nodes, without what came of looking for victims and claims."""
    return re.split(r"\.? (?:preemption:|no new claims to deallocate)", said)[0].strip().rstrip(".")


def _for_want_of(said: str, key: str) -> str:
    """Return what to do when the scheduler says this about a pod made from this part."""
    if re.search(r"persistentvolumeclaim|volume node affinity|unbound", said, re.I):
        return "see that the claim of `storage.pvc` is bound where the pods run"
    if match := re.search(r"untolerated taint[s(]* ?\{([^}]*)\}", said):
        return f"if it may run there, add the taint {match[1]!r} to `{key}.tolerations`"
    if match := re.search(r"Insufficient ([\w./-]*\w)", said):
        what = match[1]
        size = {"cpu": "num_cpus", "memory": "memory_gib"}.get(what, "num_gpus")
        return (
            f"wait until {what} is free, or see that a node has as much as `{key}.{size}` asks "
            f"for (`kubectl describe nodes`)"
        )
    if re.search(r"affinity/selector|node selector|node affinity", said):
        return f"correct `{key}.node_selector`: `kubectl get nodes --show-labels` shows the labels"
    if "untolerated taint" in said:  # which one, Kubernetes from 1.35 on does not say
        return (
            f"if it may run there, add the nodes' taint to `{key}.tolerations`: "
            "`kubectl describe nodes` shows it"
        )
    return "see `kubectl describe nodes`"


def _unmounted(pod: Object, events: Sequence[Object], who: str, role: str) -> Iterator[Finding]:
    if at(pod, "status", "phase") != "Pending":
        return
    for event in reversed(by_time(events)):
        if event.get("reason") in _MOUNTS or event.get("reason") == "FailedCreatePodSandBox":
            yield Finding(
                f"{who} cannot start: {last_line(str(event.get('message') or ''))}",
                "see that the volumes and Secrets exist and can be mounted on its node",
                role,
            )
            return


def _names(event: Object, pod: Object) -> bool:
    return bool(at(event, "involvedObject", "name") == _name(pod))


def _condition(pod: Object, kind: str) -> Object:
    conditions = at(pod, "status", "conditions") or []
    return next((each for each in conditions if each.get("type") == kind), {})


def _end(status: Object) -> dict[str, Any] | None:
    """Return how a container ended, now or before it was started again."""
    ended: dict[str, Any] | None = at(status, "state", "terminated") or at(
        status, "lastState", "terminated"
    )
    return ended


def _name(pod: Object) -> str:
    return str(at(pod, "metadata", "name"))


def _group(pod: Object) -> str:
    return str(at(pod, "metadata", "labels", "ray.io/group"))


def _who(pod: Object) -> str:
    role = role_of(pod)
    return f"a worker of group {_group(pod)!r}" if role == WORKER else f"the {role}"
