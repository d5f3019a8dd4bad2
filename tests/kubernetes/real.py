"""What a real cluster has beside its API server, found by trying; asks nothing of our own server.

A battery that runs against any kubeconfig meets API servers without nodes, scheduler, controllers
or operator. A test that needs one of them skips there, and says which.
"""

import time
import uuid
from contextlib import contextmanager
from importlib.metadata import version

from kubernetes.client import ApiException, CoreV1Api, CustomObjectsApi

from tests.kubernetes.submissions import IMAGE, claim, profile, submission, target_of

RAYJOBS = {"group": "ray.io", "version": "v1", "plural": "rayjobs"}
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def within(seconds, look, pause_s=0.5):
    """Return what a look finds as soon as it is something, else what the last one found."""
    deadline = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(pause_s)
    return found


def lacks_controllers(client):
    """Return why nobody does what the controller manager does, or nothing."""
    core = CoreV1Api(client)
    with _namespace(core) as name:
        if within(30, lambda: core.list_namespaced_service_account(name).items):
            return ""
    return "no controller manager: a new namespace has no service account"


def lacks_scheduler(client):
    """Return why nobody looks for a node for a pod, or nothing."""
    core = CoreV1Api(client)
    pod = _pod(nodeSelector={"fanflare.dev/none": "such"})
    with _namespace(core) as name:
        if said := _refusal(core, name, pod):
            return f"pods are refused: {said}"
        read = core.read_namespaced_pod
        if within(30, lambda: read("probe", name).status.conditions):
            return ""
    return "no scheduler: nobody has looked at a pod for 30 s"


def lacks_operator(client):
    """Return why no RayJob is taken up, or nothing."""
    jobs = CustomObjectsApi(client)
    body = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "probe"}}
    body["spec"] = {"entrypoint": "true"}  # which KubeRay refuses, once it has looked at it
    with _namespace(CoreV1Api(client)) as name:
        jobs.create_namespaced_custom_object(namespace=name, body=body, **RAYJOBS)

        def status():
            found = jobs.get_namespaced_custom_object(namespace=name, name="probe", **RAYJOBS)
            return found.get("status")

        if within(60, status):
            return ""
    return "no KubeRay operator: nobody has looked at a RayJob for 60 s"


def lacks_nodes(client):
    """Return why no pod runs Ray, or nothing."""
    core = CoreV1Api(client)
    conditions = (each for node in core.list_node().items for each in node.status.conditions or [])
    if not any(each.type == "Ready" and each.status == "True" for each in conditions):
        return "no node is ready"
    with _namespace(core) as name:
        if said := _refusal(core, name, _pod()):
            return f"pods are refused: {said}"

        def ended():
            status = core.read_namespaced_pod("probe", name).status
            return status if status.phase in ("Succeeded", "Failed") else None

        status = within(300, ended, 2)
        if status is None:
            return f"no pod of {IMAGE} has ended for 300 s"
        try:
            log = core.read_namespaced_pod_log("probe", name)
        except ApiException as error:
            return f"nodes that give no logs: {error.reason}"
    return "" if version("ray") in log else f"a pod of {IMAGE} prints {log[-200:]!r}"


def lacks_volume(api):
    """Make the claim `results` in a namespace; return why pods could not use it, or nothing."""
    mode = "ReadWriteOnce" if len(api.select_at("/api/v1/nodes")) == 1 else "ReadWriteMany"
    claim(api, mode=mode)
    if not api.get("persistentvolumeclaims", "results")["spec"].get("storageClassName"):
        return "no volume: the cluster has no default storage class"
    target = target_of(profile(api.namespace))

    def said():
        problems = target.problems(submission())
        return [each.message for each in problems if each.subject == "storage.pvc"]

    return "" if within(30, lambda: not said(), 2) else f"no volume: {said()}"


LACKS = {
    "controllers": lacks_controllers,
    "scheduler": lacks_scheduler,
    "operator": lacks_operator,
    "nodes": lacks_nodes,
}
"""What a test may need beside the API server -> a function of a client that says why it lacks."""


def _pod(**spec):
    container = {
        "name": "ray",
        "image": IMAGE,
        "command": ["python", "-c", "import ray; print(ray.__version__)"],
        "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}},
        "securityContext": RESTRICTED,
    }
    spec = {"containers": [container], "restartPolicy": "Never", **spec}
    return {"metadata": {"name": "probe"}, "spec": spec}


def _refusal(core, namespace, pod):
    """Make a pod; return what the server says against it."""
    within(10, lambda: core.list_namespaced_service_account(namespace).items)
    try:
        core.create_namespaced_pod(namespace, pod)
    except ApiException as error:
        return error.body
    return ""


@contextmanager
def _namespace(core):
    name = f"fanflare-test-{uuid.uuid4().hex[:8]}"
    core.create_namespace({"metadata": {"name": name}})
    try:
        yield name
    finally:
        core.delete_namespace(name)
