"""RayJobs, pods and events as a cluster reports them, as data."""

CREATED = "2026-11-21T22:26:00Z"


def job(status=None, *, labels=None, deleted=False, **spec):
    metadata = {"name": "ff-toy-1a2b3c4d-1", "labels": labels or {}, "creationTimestamp": CREATED}
    if deleted:
        metadata["deletionTimestamp"] = CREATED
    status = {"startTime": CREATED, **status} if status else {}
    return {"metadata": metadata, "spec": {"backoffLimit": 3, **spec}, "status": status}


def pod(role="head", *, phase="Pending", group="gpu", main=None, init=None, **more):
    """Return a pod; `main` and `init` are the state of its container and its init container."""
    name = {"head": "ray-head", "worker": "ray-worker", "submitter": "ray-job-submitter"}[role]
    labels = {} if role == "submitter" else {"ray.io/node-type": role, "ray.io/group": group}
    status = {"phase": phase, **more}
    image = "registry.example/toy:1"
    if main is not None:
        status["containerStatuses"] = [{"name": name, "image": image, "state": main}]
    if init is not None:
        status["initContainerStatuses"] = [{"name": "fetch-bundle", "image": image, "state": init}]
    limits = {"limits": {"memory": "8Gi"}}
    spec = {"containers": [{"name": name, "resources": limits}]}
    return {"metadata": {"name": f"toy-{role}-x", "labels": labels}, "spec": spec, "status": status}


def unscheduled(message, role="worker"):
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return pod(role, conditions=[{**condition, "message": message}])


def event(reason, message, name="toy-worker-x", kind="Pod", time=CREATED):
    about = {"kind": kind, "name": name}
    return {"reason": reason, "message": message, "involvedObject": about, "lastTimestamp": time}


def failed(code, last):
    text = (
        f"Job entrypoint command failed with exit code {code}, last available logs (truncated to "
        f"20,000 chars):\nTraceback\n{last}\n"
    )
    return {"jobDeploymentStatus": "Failed", "reason": "AppFailed", "message": text, "failed": 1}


def waits(reason, message=""):
    return {"waiting": {"reason": reason, "message": message}}


def ends(code, message="", reason="Error"):
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}
