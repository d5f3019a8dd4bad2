"""The operator in the tests walks a RayJob through the states that a real one was seen in."""

import threading
import time

import pytest
from kubernetes.client import ApiException, CoreV1Api, CustomObjectsApi

from tests.kubernetes.ray_job import ray_job

RAYJOBS = {"group": "ray.io", "version": "v1", "plural": "rayjobs"}


@pytest.fixture
def submit(api_client, namespace):
    """A function that creates a RayJob named toy."""

    def create(*, labels=None, **spec):
        body = ray_job(**spec)
        body["metadata"]["labels"].update(labels or {})
        CustomObjectsApi(api_client).create_namespaced_custom_object(
            namespace=namespace, body=body, **RAYJOBS
        )

    return create


@pytest.fixture
def status(api_client, namespace):
    """A function that reads the status of the RayJob toy."""

    def read():
        return CustomObjectsApi(api_client).get_namespaced_custom_object(
            namespace=namespace, name="toy", **RAYJOBS
        )["status"]

    return read


@pytest.fixture
def pods(api_client, namespace):
    """A function that lists pods by their labels."""

    def read(selector):
        core = CoreV1Api(api_client)
        return core.list_namespaced_pod(namespace, label_selector=selector).items

    return read


@pytest.fixture
def events(api_client, namespace):
    """A function that lists what events say about an object."""

    def read(name):
        found = CoreV1Api(api_client).list_namespaced_event(
            namespace, field_selector=f"involvedObject.name={name}"
        )
        return [f"{event.reason}: {event.message}" for event in found.items]

    return read


def test_a_job_that_succeeds(submit, status, pods, reach, namespace):
    submit()
    reach(namespace, "toy", "Initializing")
    cluster = status()["rayClusterName"]
    assert len(pods(f"ray.io/cluster={cluster},ray.io/node-type=head")) == 1
    reach(namespace, "toy", "Running")
    assert pods("job-name=toy")
    reach(namespace, "toy", "Complete")
    assert status()["jobStatus"] == "SUCCEEDED"


def test_its_status_comes_before_its_end(submit, status, operator, namespace):
    submit()
    operator.settle(namespace, "toy", "Running")
    operator.finish(namespace, "toy")
    operator.step(namespace, "toy")
    told = status()
    assert (told["jobStatus"], told["jobDeploymentStatus"]) == ("SUCCEEDED", "Running")


def test_a_job_that_fails_is_tried_again_on_a_new_cluster(submit, status, operator, namespace):
    submit(backoffLimit=1)
    clusters = set()
    for end in ("Retrying", "Failed"):
        operator.settle(namespace, "toy", "Running")
        clusters.add(status()["rayClusterName"])
        operator.finish(namespace, "toy", exit_code=3, tail="KeyError: 'a'")
        operator.settle(namespace, "toy", end)
    told = status()
    assert (told["reason"], told["failed"]) == ("AppFailed", 2) and len(clusters) == 2
    assert "exit code 3" in told["message"] and "KeyError" in told["message"]


@pytest.mark.parametrize(
    ("obstacle", "reason", "words"),
    [
        ("image", "ImagePullBackOff", "Back-off pulling image"),
        ("unschedulable", "Unschedulable", "Insufficient nvidia.com/gpu"),
    ],
)
def test_pods_that_cannot_start(
    submit, status, pods, events, operator, namespace, obstacle, reason, words
):
    submit()
    operator.obstruct(namespace, "toy", obstacle)
    assert [operator.step(namespace, "toy") for _ in range(3)] == ["Initializing"] * 3
    head = pods("ray.io/node-type=head")[0]
    assert head.status.phase == "Pending" and reason in str(head.status)
    assert words in str(events(head.metadata.name))
    operator.obstruct(namespace, "toy", None)
    operator.settle(namespace, "toy", "Running")


def test_a_quota_that_is_spent(submit, status, pods, events, operator, namespace):
    submit()
    operator.obstruct(namespace, "toy", "quota")
    operator.step(namespace, "toy")
    assert not pods("ray.io/node-type=head")
    assert "exceeded quota" in str(events(status()["rayClusterName"]))
    operator.obstruct(namespace, "toy", None)
    operator.settle(namespace, "toy", "Running")


def test_a_lost_head(submit, status, operator, namespace):
    submit(backoffLimit=1)
    operator.settle(namespace, "toy", "Running")
    first = status()["rayClusterName"]
    operator.lose_head(namespace, "toy")
    operator.settle(namespace, "toy", "Running")
    assert status()["rayClusterName"] != first and status()["failed"] == 1
    operator.lose_head(namespace, "toy", retried=False)
    assert status()["jobDeploymentStatus"] == "Failed"


def test_suspension_takes_the_pods_and_kueue_lets_it_go_on(
    submit, status, pods, operator, namespace
):
    submit(labels={"kueue.x-k8s.io/queue-name": "team"})
    assert operator.step(namespace, "toy") == "Suspended"
    operator.admit(namespace, "toy")
    operator.settle(namespace, "toy", "Running")
    operator.admit(namespace, "toy", admitted=False)
    operator.settle(namespace, "toy", "Suspended")
    assert not pods("ray.io/is-ray-node=yes") and "rayClusterName" not in status()


def test_deadlines_are_not_retried(submit, status, operator, namespace):
    submit(backoffLimit=3, activeDeadlineSeconds=60)
    operator.settle(namespace, "toy", "Running")
    operator.pass_time(namespace, "toy", 59)
    assert status()["jobDeploymentStatus"] == "Running"
    operator.pass_time(namespace, "toy", 60)
    assert (status()["jobDeploymentStatus"], status()["reason"]) == ("Failed", "DeadlineExceeded")


def test_what_has_ended_is_removed_by_its_rules(submit, status, pods, operator, namespace):
    when = {"jobStatus": "SUCCEEDED"}
    rules = [
        {"policy": "DeleteCluster", "condition": when},
        {"policy": "DeleteSelf", "condition": when | {"ttlSeconds": 100}},
    ]
    submit(deletionStrategy={"deletionRules": rules})
    operator.settle(namespace, "toy", "Running")
    operator.finish(namespace, "toy")
    operator.settle(namespace, "toy", "Complete")
    operator.step(namespace, "toy")
    assert not pods("ray.io/is-ray-node=yes") and pods("job-name=toy")
    operator.pass_time(namespace, "toy", 100)
    with pytest.raises(ApiException, match="404"):
        status()
    assert not pods("job-name=toy")


def test_a_worker_comes_and_is_preempted(submit, pods, operator, namespace):
    submit()
    operator.settle(namespace, "toy", "Running")
    operator.add_worker(namespace, "toy", "cpu")
    assert [pod.status.phase for pod in pods("ray.io/group=cpu")] == ["Running"] * 2
    gone = operator.preempt_worker(namespace, "toy")
    phases = {pod.metadata.name: pod.status.phase for pod in pods("ray.io/group=cpu")}
    assert phases[gone] == "Failed"


def test_a_log_is_followed_to_its_end_and_can_be_cut(
    submit, pods, api_client, api_server, operator, namespace
):
    submit()
    operator.settle(namespace, "toy", "Running")
    name, seen = pods("job-name=toy")[0].metadata.name, []
    core = CoreV1Api(api_client)

    def follow():
        response = core.read_namespaced_pod_log(
            name, namespace, follow=True, _preload_content=False
        )
        seen.extend(line.decode().rstrip() for line in response)

    thread = threading.Thread(target=follow)
    thread.start()
    for number in range(3):
        operator.print(namespace, "toy", f"line {number}")
        time.sleep(0.02)
    operator.finish(namespace, "toy")
    operator.settle(namespace, "toy", "Complete")
    thread.join(10)
    assert seen == ["line 0", "line 1", "line 2"]
    assert core.read_namespaced_pod_log(name, namespace, tail_lines=1) == "line 2\n"
    stamped = core.read_namespaced_pod_log(name, namespace, timestamps=True).splitlines()
    assert all(line[:2] == "20" and line.split()[0].endswith("Z") for line in stamped)
    assert core.read_namespaced_pod_log(name, namespace, limit_bytes=4) == "line"
    api_server.faults.cut_logs(2, clean=True)
    assert core.read_namespaced_pod_log(name, namespace) == "line 0\nline 1\n"
    api_server.faults.cut_logs(2)
    with pytest.raises(Exception, match=r"(?i)incomplete|connection|eof|protocol"):
        core.read_namespaced_pod_log(name, namespace)


def test_a_container_that_waits_has_no_log(submit, pods, api_client, operator, namespace):
    submit()
    operator.obstruct(namespace, "toy", "image")
    operator.step(namespace, "toy")
    head = pods("ray.io/node-type=head")[0].metadata.name
    with pytest.raises(ApiException, match="trying and failing to pull image"):
        CoreV1Api(api_client).read_namespaced_pod_log(head, namespace)
