"""The API server in the tests behaves as a real one does, to kubectl."""

import json
import random
import shutil
import subprocess

import pytest

from cluster.bundle import Bundle
from cluster.kubernetes.manifest import manifests
from cluster.target import Submission
from tests.kubernetes.ray_job import IDLE, ray_job
from tests.kubernetes.schemas import needs_schemas
from tests.kubernetes.submissions import profile

pytestmark = pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")


@pytest.fixture
def kubectl(kubeconfig, namespace, monkeypatch, tmp_path):
    """A function that runs kubectl in the test's namespace and returns its output."""
    monkeypatch.setenv("HOME", str(tmp_path))  # for its cache

    def run(*arguments, given=None, fails=False):
        done = subprocess.run(
            ["kubectl", "-n", namespace, *arguments],
            input=json.dumps(given) if given else None,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert bool(done.returncode) is fails, done.stderr
        return done.stderr if fails else done.stdout

    return run


def test_apply_get_describe_delete(kubectl):
    assert "created" in kubectl("apply", "-f", "-", given=ray_job(**IDLE))
    assert "configured" in kubectl("apply", "-f", "-", given=ray_job(backoffLimit=2, **IDLE))
    got = json.loads(kubectl("get", "rayjob", "toy", "-o", "json"))
    assert got["spec"]["backoffLimit"] == 2
    assert "toy" in kubectl("get", "rayjobs", "-l", "team in (toys, tools)")
    assert "python -c 'print(1)'" in kubectl("describe", "rayjob", "toy")
    kubectl("delete", "rayjob", "toy")
    assert 'rayjobs.ray.io "toy" not found' in kubectl("get", "rayjob", "toy", fails=True)


def test_server_side_apply_and_dry_run(kubectl):
    kubectl("apply", "--server-side", "-f", "-", given=ray_job(**IDLE))
    kubectl(
        "apply",
        "--server-side",
        "--dry-run=server",
        "-f",
        "-",
        given=ray_job(backoffLimit=7, **IDLE),
    )
    assert kubectl("get", "rayjob", "toy", "-o", "jsonpath={.spec.backoffLimit}") in ("", "0")


def test_what_is_printed_for_kubectl_is_applied_by_the_server(kubectl, namespace):
    bundle = Bundle(files={"noise": random.Random(0).randbytes(300_000)})
    sent = Submission(name="toy", bundle=bundle, module="toy", shapes=(), owner="ada", store="/a")
    given = profile(namespace, storage={"pvc": "results"})
    files, job = manifests(sent, given)
    for each in (files, job):
        told = kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", given=each)
        assert "serverside-applied (server dry run)" in told
    told = kubectl("apply", "--dry-run=server", "-f", "-", given=files, fails=True)
    assert "metadata.annotations: Too long" in told


@needs_schemas
def test_an_unknown_field_of_a_ray_job_is_refused(kubectl):
    told = kubectl("apply", "-f", "-", given=ray_job(oops=1, **IDLE), fails=True)
    assert 'strict decoding error: unknown field "spec.oops"' in told


def test_an_unknown_field_of_a_pod_is_refused(kubectl):
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
    pod["spec"] = {"containers": [{"name": "a", "image": "busybox", "imagine": "b"}]}
    told = kubectl("create", "-f", "-", given=pod, fails=True)
    assert 'unknown field "spec.containers[0].imagine"' in told


def test_the_log_of_a_running_job(kubectl, operator, namespace):
    kubectl("create", "-f", "-", given=ray_job(**IDLE))
    operator.settle(namespace, "toy", "Running")
    operator.print(namespace, "toy", "one", "two")
    assert kubectl("logs", "-l", "job-name=toy") == "one\ntwo\n"
    assert kubectl("logs", "job/toy", "--tail=1") == "two\n"
    operator.finish(namespace, "toy")
    operator.settle(namespace, "toy", "Complete")
    assert kubectl("logs", "-f", "job/toy") == "one\ntwo\n"
    assert "Succeeded" in kubectl("get", "pod", "-l", "job-name=toy", "-o", "yaml")


def test_a_command_in_a_pod(kubectl, api_server, tmp_path):
    (tmp_path / "claim").mkdir()
    (tmp_path / "claim/here.txt").write_text("some results")
    api_server.kubelet.claims["results"] = str(tmp_path / "claim")
    mounts = [{"name": "store", "mountPath": "/store"}]
    container = {"name": "a", "image": "busybox", "volumeMounts": mounts}
    claims = [{"name": "store", "persistentVolumeClaim": {"claimName": "results"}}]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
    pod["spec"] = {"containers": [container], "volumes": claims}
    kubectl("create", "-f", "-", given=pod)
    assert kubectl("exec", "a", "--", "cat", "/store/here.txt") == "some results"
    failing = "import sys; sys.stderr.write('no'); sys.exit(3)"
    assert "exit code 3" in kubectl("exec", "a", "--", "python", "-c", failing, fails=True)
    assert kubectl("exec", "-i", "a", "--", "head", "-c", "6", given={"a": 1}) == '{"a": '
