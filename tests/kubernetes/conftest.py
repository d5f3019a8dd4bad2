"""The cluster that the Kubernetes tests talk to: our own server, or a real one.

`FANFLARE_TEST_KUBECONFIG` names the kubeconfig of a real cluster with KubeRay. Then tests that
take `kubeconfig` and `namespace` run against it, and those that take `api_server` or `operator`
skip: no test tells a real controller what to do, or a real API server to fail.
"""

import os
import time
import uuid
from functools import partial

import pytest
import yaml

REAL = os.environ.get("FANFLARE_TEST_KUBECONFIG")


@pytest.fixture
def api_server(request):
    """Our own API server, empty but for what every cluster has."""
    if REAL:
        pytest.skip("scripts the controller or injects faults: not on a real cluster")
    return request.getfixturevalue("_own_server")


@pytest.fixture
def _own_server():
    from tests.kubernetes.api_server import ApiServer  # noqa: PLC0415 (not on a real cluster)

    server = ApiServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def token_file(tmp_path):
    """Where the kubeconfig's token is; `api_server.renew_token(token_file)` renews it."""
    return tmp_path / "token"


@pytest.fixture
def kubeconfig(request, tmp_path, token_file, monkeypatch):
    """The path of a kubeconfig, which is also in `KUBECONFIG`."""
    path = REAL
    if not path:
        data = request.getfixturevalue("_own_server").kubeconfig(token_file)
        written = tmp_path / "kubeconfig"
        written.write_text(yaml.safe_dump(data))
        path = str(written)
    monkeypatch.setenv("KUBECONFIG", path)
    return path


@pytest.fixture
def api_client(kubeconfig):
    """The official client of that cluster."""
    from kubernetes import config  # noqa: PLC0415 (takes a second)

    with config.new_client_from_config(kubeconfig) as client:
        yield client


@pytest.fixture
def namespace(api_client):
    """A namespace of this test's own, removed at its end."""
    from kubernetes.client import CoreV1Api  # noqa: PLC0415 (takes a second)

    name = f"fanflare-test-{uuid.uuid4().hex[:8]}"
    core = CoreV1Api(api_client)
    core.create_namespace({"metadata": {"name": name}})
    while not core.list_namespaced_service_account(name).items:
        time.sleep(0.2)  # a real cluster makes it a moment later, and no pod before it
    yield name
    if REAL:
        core.delete_namespace(name)


@pytest.fixture
def operator(api_server):
    """KubeRay's operator on our own server, which a test steps."""
    from tests.kubernetes.kuberay import Operator  # noqa: PLC0415 (not on a real cluster)

    return Operator(api_server.objects, api_server.logs)


@pytest.fixture
def reach(request, kubeconfig):
    """A function that sees a RayJob to a deployment status: it waits for a real cluster's
    operator, and steps ours, whose entrypoint ends well for `Complete` and badly for `Failed`."""
    if REAL:
        return partial(_wait_for, request.getfixturevalue("api_client"))
    operator = request.getfixturevalue("operator")

    def walk(namespace, name, state, timeout_s=0):
        if state in ("Complete", "Failed"):
            operator.settle(namespace, name, "Running")
            operator.finish(namespace, name, 0 if state == "Complete" else 1)
        operator.settle(namespace, name, state)

    return walk


def _wait_for(client, namespace, name, state, timeout_s=300):
    from kubernetes.client import CustomObjectsApi  # noqa: PLC0415 (takes a second)

    job, deadline = {}, time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        job = CustomObjectsApi(client).get_namespaced_custom_object(
            "ray.io", "v1", namespace, "rayjobs", name
        )
        now = (job.get("status") or {}).get("jobDeploymentStatus")
        if now == state:
            return
        if now in ("Complete", "Failed"):
            break
        time.sleep(0.5)
    raise AssertionError(f"{name} is {job.get('status')}, not {state}")
