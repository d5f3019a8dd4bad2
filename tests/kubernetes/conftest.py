"""The cluster that the Kubernetes tests talk to: our own server, or a real one.

`FANFLARE_TEST_KUBECONFIG` names the kubeconfig of a real cluster with KubeRay. Then tests that
take `kubeconfig` and `namespace` run against it, and those that take `api_server` or `operator`
skip: no test tells a real controller what to do, or a real API server to fail. What a test needs
beside the API server it says by a fixture (`controllers`, `scheduler`, `nodes`), or by the status
that a RayJob is to `reach`; where a real cluster lacks it, the test skips with what is lacking.
"""

import functools
import os
import time
import uuid

import pytest
import yaml

from tests.kubernetes.real import LACKS, within

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
def namespace(api_client, _lacking):
    """A namespace of this test's own, removed at its end."""
    from kubernetes.client import CoreV1Api  # noqa: PLC0415 (takes a second)

    name = f"fanflare-test-{uuid.uuid4().hex[:8]}"
    core = CoreV1Api(api_client)
    core.create_namespace({"metadata": {"name": name}})
    if not _lacking("controllers"):  # they make its account a moment later, and no pod before it
        within(60, lambda: core.list_namespaced_service_account(name).items)
    yield name
    if REAL:
        core.delete_namespace(name)


@pytest.fixture(scope="session")
def _lacking():
    """A function that says why a part of the cluster cannot be counted on, or nothing."""
    if not REAL:
        return lambda part: ""

    from kubernetes import config  # noqa: PLC0415 (takes a second)

    @functools.cache
    def lacking(part):
        with config.new_client_from_config(REAL) as client:
            return LACKS[part](client)

    return lacking


@pytest.fixture
def controllers(_lacking):
    """What Kubernetes does by itself: accounts are made, quotas counted, orphans removed."""
    _skip_for(_lacking("controllers"))


@pytest.fixture
def scheduler(_lacking):
    """Somebody looks for a node for each pod."""
    _skip_for(_lacking("scheduler"))


@pytest.fixture
def nodes(_lacking):
    """Pods run, and Ray in them."""
    _skip_for(_lacking("nodes"))


def _skip_for(reason):
    if reason:
        pytest.skip(reason)


@pytest.fixture
def operator(api_server):
    """KubeRay's operator on our own server, which a test steps."""
    from tests.kubernetes.kuberay import Operator  # noqa: PLC0415 (not on a real cluster)

    return Operator(api_server.objects, api_server.logs)


@pytest.fixture
def reach(request, kubeconfig, _lacking):
    """A function that sees a RayJob to a deployment status, or to its removal (`""`): it waits for
    a real cluster's operator, and steps ours, whose entrypoint ends well for `Complete` and badly
    for `Failed`."""
    if REAL:
        _skip_for(_lacking("operator"))
        client = request.getfixturevalue("api_client")

        def wait(namespace, name, state):
            if state not in ("Initializing", ""):  # beyond it something has to run
                _skip_for(_lacking("nodes"))
            _wait_for(client, namespace, name, state)

        return wait
    operator = request.getfixturevalue("operator")

    def walk(namespace, name, state):
        if state in ("Complete", "Failed"):
            operator.settle(namespace, name, "Running")
            operator.finish(namespace, name, 0 if state == "Complete" else 1)
        operator.settle(namespace, name, state)

    return walk


def _wait_for(client, namespace, name, state, timeout_s=300):
    from kubernetes.client import CustomObjectsApi  # noqa: PLC0415 (takes a second)

    job, deadline = {}, time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        jobs = CustomObjectsApi(client).list_namespaced_custom_object(
            "ray.io", "v1", namespace, "rayjobs", field_selector=f"metadata.name={name}"
        )
        job = next(iter(jobs["items"]), {})
        now = (job.get("status") or {}).get("jobDeploymentStatus", "") if job else ""
        if now == state:
            return
        if now in ("Complete", "Failed"):
            break
        time.sleep(0.5)
    raise AssertionError(f"{name} is {job.get('status')}, not {state}")
