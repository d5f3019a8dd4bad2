"""The pods of a RayJob as the kubelet and the scheduler report them; decides no state."""

import uuid

from tests.kubernetes.kinds import kind_of
from tests.kubernetes.objects import timestamp

POD = kind_of("Pod")


def owner_of(obj):
    """Return the reference by which an object owns another."""
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": obj["metadata"]["name"],
        "uid": obj["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def pod_of(template, *, name, owner, labels):
    """Return a pod of a template as a controller makes it."""
    metadata = template.get("metadata") or {}
    return {
        "metadata": {
            "name": f"{name}-{uuid.uuid4().hex[:5]}",
            "labels": {**(metadata.get("labels") or {}), **labels},
            "annotations": metadata.get("annotations") or {},
            "ownerReferences": [owner_of(owner)],
        },
        "spec": template["spec"],
    }


def _containers(pod, state, *, ready=False):
    return [
        {
            "name": container["name"],
            "image": container.get("image", ""),
            "imageID": "",
            "ready": ready,
            "started": ready,
            "restartCount": 0,
            "state": state,
            "lastState": {},
        }
        for container in pod["spec"]["containers"]
    ]


def _condition(name, status, reason=None, message=None):
    told = {"type": name, "status": status, "lastTransitionTime": timestamp()}
    if reason:
        told.update(reason=reason, message=message)
    return told


def unscheduled(message):
    """Return the status of a pod for which no node has room."""
    return {
        "phase": "Pending",
        "conditions": [_condition("PodScheduled", "False", "Unschedulable", message)],
    }


def waiting(pod, reason, message=None):
    """Return the status of a pod on a node whose containers wait, as for an image."""
    state = {"reason": reason, **({"message": message} if message else {})}
    return {
        "phase": "Pending",
        "conditions": [
            _condition("PodScheduled", "True"),
            _condition("Ready", "False", "ContainersNotReady", "containers with unready status"),
        ],
        "containerStatuses": _containers(pod, {"waiting": state}),
        "startTime": timestamp(),
    }


def running(pod):
    """Return the status of a pod that runs."""
    state = {"running": {"startedAt": timestamp()}}
    return {
        "phase": "Running",
        "podIP": "10.0.0.7",
        "conditions": [_condition("PodScheduled", "True"), _condition("Ready", "True")],
        "containerStatuses": _containers(pod, state, ready=True),
        "startTime": timestamp(),
    }


def ended(pod, exit_code, reason=None):
    """Return the status of a pod whose containers have ended."""
    reason = reason or ("Error" if exit_code else "Completed")
    state = {"exitCode": exit_code, "reason": reason, "finishedAt": timestamp()}
    return {
        "phase": "Failed" if exit_code else "Succeeded",
        "conditions": [
            _condition("PodScheduled", "True"),
            _condition("Ready", "False", "PodFailed" if exit_code else "PodCompleted", ""),
        ],
        "containerStatuses": _containers(pod, {"terminated": state}),
        "startTime": timestamp(),
    }


def evicted(pod, reason, message):
    """Return the status of a pod whose node is taken away."""
    status = ended(pod, 137)
    target = _condition("DisruptionTarget", "True", reason, message)
    return {
        **status,
        "reason": "Evicted",
        "message": message,
        "conditions": [target, *status["conditions"]],
    }


def event(obj, reason, message, *, warning=True, source="default-scheduler"):
    """Return an event about an object."""
    metadata = obj["metadata"]
    now = timestamp()
    return {
        "metadata": {"name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}"},
        "involvedObject": {
            "apiVersion": obj["apiVersion"],
            "kind": obj["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
        "reason": reason,
        "message": message,
        "type": "Warning" if warning else "Normal",
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": source},
        "reportingComponent": source,
        "reportingInstance": "",
    }
