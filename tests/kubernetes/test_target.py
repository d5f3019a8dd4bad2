"""Submissions on Kubernetes: begun, found again, told, cancelled, begun anew.

The battery runs unchanged against a real cluster with KubeRay:

    FANFLARE_TEST_KUBECONFIG=~/.kube/config    a context that may create namespaces
    FANFLARE_TEST_IMAGE=...                    with this machine's Ray; by default rayproject/ray
    FANFLARE_TEST_STORAGE=s3://bucket/path     a bucket; without, a claim `results` is made in
                                               each namespace from the default storage class,
                                               which fits a cluster of one node
    pytest tests/kubernetes

Each test has a namespace of its own. Tests that script the operator or let the API server fail
skip there, and tests that need what the cluster lacks (`-rs` tells it): nodes that run the image, a
scheduler, the controller manager, the operator.
"""

import threading
import time
import uuid

import pytest

from cluster import naming
from cluster.job import State
from cluster.kubernetes.api import Api
from cluster.store import Store
from cluster.target import TargetError, open_target
from tests.kubernetes.conftest import REAL
from tests.kubernetes.kinds import kind_of
from tests.kubernetes.submissions import STORAGE, STORE, claim, profile, submission, target_of


@pytest.fixture
def given(namespace, kubeconfig):
    """A profile of the test's namespace."""
    return profile(namespace)


@pytest.fixture
def api(given):
    return Api(given)


@pytest.fixture
def target(given, api):
    if not STORAGE:
        claim(api)
    return target_of(given)


def rayjobs(api):
    return sorted(job["metadata"]["name"] for job in api.select("rayjobs"))


def test_a_submission_is_found_again_from_any_machine(target, given):
    sent = target.submit(submission())
    assert sent.id == naming.job_name("toy", STORE, 1)
    assert (sent.state, sent.owner) == (State.SCHEDULED, "ada")
    found = open_target(given).standing("toy", STORE)
    assert (found.id, found.bundle) == (sent.id, submission().bundle.digest)
    assert abs(found.submitted_at - time.time()) < 60
    assert target.standing("other", STORE) is None
    assert target.standing("toy", "s3://elsewhere") is None


def test_while_one_runs_the_same_name_starts_none(target, api, reach, namespace):
    first = target.submit(submission())
    reach(namespace, first.id, "Initializing")
    again = target.submit(submission(owner="bob", note="changed"))
    assert (again.id, again.owner) == (first.id, "ada")
    assert rayjobs(api) == [first.id]


def test_two_submitters_at_one_moment_start_one(given, api, target):
    targets, found = [target_of(given) for _ in range(6)], []
    barrier = threading.Barrier(len(targets))

    def submit(number):
        barrier.wait()
        found.append(targets[number].submit(submission(owner=f"user-{number}", note=str(number))))

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert {each.id for each in found} == set(rayjobs(api))
    assert len({(each.id, each.owner, each.bundle) for each in found}) == 1
    if not STORAGE:  # the files are those of whoever won
        config = api.get("configmaps", found[0].id)
        assert config["metadata"]["annotations"][naming.BUNDLE] == found[0].bundle


def test_after_its_end_the_same_name_starts_anew_and_the_old_one_stays(
    target, api, reach, namespace
):
    first = target.submit(submission())
    reach(namespace, first.id, "Complete")
    ended = target.standing("toy", STORE)
    assert (ended.state, ended.num_attempts) == (State.FINISHED, 1)
    second = target.submit(submission(note="extended"))
    assert second.id == naming.job_name("toy", STORE, 2)
    assert rayjobs(api) == [first.id, second.id]
    assert target.standing("toy", STORE).id == second.id


def test_a_driver_that_crashes_is_told(given, target, reach, namespace):
    sent = target_of(profile(namespace, max_retries=0)).submit(submission(code=1))
    reach(namespace, sent.id, "Failed")
    standing = target.standing("toy", STORE)
    assert standing.state is State.FAILED
    assert "exit code 1" in standing.message
    assert standing.action


def test_cancelled_is_gone_and_can_be_sent_again(target, api, reach, namespace):
    first = target.submit(submission())
    reach(namespace, first.id, "Running")
    target.cancel("toy", STORE)
    standing = target.standing("toy", STORE)
    assert standing is None or standing.state is State.KILLED
    reach(namespace, first.id, "")
    assert target.standing("toy", STORE) is None
    assert rayjobs(api) == []
    target.cancel("toy", STORE)  # nothing to do
    assert target.submit(submission()).state is State.SCHEDULED


def test_cancelling_what_has_ended_does_nothing(target, api, reach, namespace):
    sent = target.submit(submission())
    reach(namespace, sent.id, "Complete")
    target.cancel("toy", STORE)
    assert rayjobs(api) == [sent.id]


def test_a_ray_job_of_somebody_else_is_not_touched(target, api):
    labels = naming.labels("toy", STORE, "ada") | {naming.MANAGED_BY: "helm"}
    body = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": "theirs", "labels": labels},
        "spec": {"entrypoint": "true", "clusterSelector": {"ray.io/cluster": "theirs"}},
    }
    api.create("rayjobs", body)
    sent = target.submit(submission())
    assert sent.id == naming.job_name("toy", STORE, 1)
    target.cancel("toy", STORE)
    assert "theirs" in rayjobs(api)


def test_the_files_go_with_their_job(given, api, target, controllers):
    if STORAGE:
        pytest.skip("with a bucket the files are in the bucket")
    sent = target.submit(submission())
    config = api.get("configmaps", sent.id)
    owner = config["metadata"]["ownerReferences"][0]
    assert owner["uid"] == api.get("rayjobs", sent.id)["metadata"]["uid"]
    target.cancel("toy", STORE)
    deadline = time.monotonic() + 60
    while api.get("configmaps", sent.id) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert api.get("configmaps", sent.id) is None


LEFT = {
    "of a RayJob that is gone": lambda digest: {
        "annotations": {naming.BUNDLE: digest},
        "ownerReferences": [
            {"apiVersion": "ray.io/v1", "kind": "RayJob", "name": "toy", "uid": str(uuid.uuid4())}
        ],
    },
    "other files, made by kubectl": lambda digest: {"annotations": {naming.BUNDLE: "0" * 64}},
}
"""ConfigMaps that bear the name of a submission: what the metadata of each says."""


@pytest.mark.skipif(bool(STORAGE), reason="with a bucket the files are in the bucket")
@pytest.mark.parametrize("left", LEFT)
def test_files_that_are_left_of_another_give_way(target, api, left):
    name, digest = naming.job_name("toy", STORE, 1), submission().bundle.digest
    body = {"apiVersion": "v1", "kind": "ConfigMap", "binaryData": {"bundle.zip": "AAAA"}}
    made = api.create("configmaps", body | {"metadata": {"name": name, **LEFT[left](digest)}})
    target.submit(submission())
    found = api.get("configmaps", name)
    assert found["metadata"]["uid"] != made["metadata"]["uid"]
    assert found["metadata"]["annotations"][naming.BUNDLE] == digest
    (owner,) = found["metadata"]["ownerReferences"]
    assert owner["uid"] == api.get("rayjobs", name)["metadata"]["uid"]


def test_files_that_a_dead_submitter_left_out_are_made_by_the_next(target, api, api_server):
    sent = target.submit(submission())
    api.delete("configmaps", sent.id)
    target.submit(submission(note="other files"))
    assert api.get("configmaps", sent.id) is None
    target.submit(submission())
    assert api.get("configmaps", sent.id) is not None


def test_files_that_are_refused_leave_no_job(target, api, api_server):
    api_server.faults.deny("create", "configmaps")
    with pytest.raises(TargetError, match='cannot create resource "configmaps"'):
        target.submit(submission())
    assert rayjobs(api) == []


def test_with_a_bucket_the_files_are_in_the_store(namespace, kubeconfig, api, tmp_path, api_server):
    given = profile(namespace, storage={"uri": f"file://{tmp_path}"})
    target_of(given).submit(submission())
    digest = submission().bundle.digest
    content = Store(f"file://{tmp_path}").read_bytes(f"bundles/{digest}.zip")
    assert content == submission().bundle.content
    assert api.select("configmaps") == []


def test_a_creation_whose_answer_was_lost_is_ours(given, api, target, api_server, monkeypatch):
    send, lost = target._api.transport._send, []

    def send_and_lose(method, *rest):
        answer = send(method, *rest)
        if method == "POST" and not lost:
            lost.append(answer)
            answer.status = 504
        return answer

    monkeypatch.setattr(target._api.transport, "_send", send_and_lose)
    sent = target.submit(submission())
    assert lost
    assert rayjobs(api) == [sent.id]
    assert api.get("configmaps", sent.id) is not None


def test_an_ended_job_is_forgotten_after_its_ttl(namespace, api, target, operator):
    mine = target_of(profile(namespace, ttl_s=0))
    first = mine.submit(submission())
    operator.settle(namespace, first.id, "Running")
    operator.finish(namespace, first.id)
    operator.settle(namespace, first.id, "Complete")
    time.sleep(1.1)  # times are whole seconds
    second = mine.submit(submission())
    operator.step(namespace, first.id)
    assert rayjobs(api) == [second.id]
    assert naming.number_of(second.id) == 2


OBSTACLES = {
    "image": (
        {"image": "registry.invalid/nobody:1"},
        "the head cannot pull the image 'registry.invalid/nobody:1'",
        "`image`",
    ),
    "unschedulable": (
        {"head": {"node_selector": {"fanflare.dev/none": "such"}}},
        "the head waits for a node: ",
        "`kubectl",
    ),
    "quota": ({}, "the head is refused: quota 'team' is spent", "quota raised"),
}
"""What keeps pods away: the profile that meets it on a real cluster, and what is said."""


NEEDS = {"image": "nodes", "unschedulable": "scheduler", "quota": "controllers"}
"""Who says so in a real cluster."""


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_what_keeps_a_job_waiting_is_told(target, api, namespace, reach, obstacle, request):
    request.getfixturevalue(NEEDS[obstacle])
    changes, message, action = OBSTACLES[obstacle]
    if obstacle == "quota":
        hard = {"metadata": {"name": "team"}, "spec": {"hard": {"pods": "0"}}}
        api.create("resourcequotas", {"apiVersion": "v1", "kind": "ResourceQuota", **hard})
    sent = target_of(profile(namespace, **changes)).submit(submission())
    if not REAL:
        request.getfixturevalue("operator").obstruct(namespace, sent.id, obstacle)
    reach(namespace, sent.id, "Initializing")
    deadline = time.monotonic() + 120
    while message not in (standing := target.standing("toy", STORE)).message:
        assert time.monotonic() < deadline, standing
        time.sleep(1)
    assert standing.state is State.SCHEDULED
    assert action in standing.action


def test_a_lost_head_is_a_new_attempt_of_the_same_submission(target, operator, namespace):
    sent = target.submit(submission())
    operator.settle(namespace, sent.id, "Running")
    operator.lose_head(namespace, sent.id)
    told = target.standing("toy", STORE)
    assert told.state is State.SCHEDULED
    assert "attempt 1 of 2 has failed (the head was" in told.message
    assert target.submit(submission()).id == sent.id
    operator.settle(namespace, sent.id, "Running")
    told = target.standing("toy", STORE)
    assert (told.state, told.num_attempts) == (State.RUNNING, 2)
    assert told.message.startswith("attempt 2 of 2: running")


def test_a_worker_that_is_taken_away_is_no_failure(target, operator, namespace):
    sent = target.submit(submission())
    operator.settle(namespace, sent.id, "Running")
    operator.add_worker(namespace, sent.id, "cpu")
    assert "1 of 1 workers are there" in target.standing("toy", STORE).message
    operator.preempt_worker(namespace, sent.id)
    told = target.standing("toy", STORE)
    assert (told.state, told.action) == (State.RUNNING, "")
    assert "was taken away" in told.message
    assert told.facts["pods"] == {"Running": 2, "Failed": 1}


def test_a_job_in_a_queue_waits_for_its_admission(namespace, target, operator):
    mine = target_of(profile(namespace, queue="team"))
    sent = mine.submit(submission())
    operator.admit(namespace, sent.id, False)
    operator.step(namespace, sent.id)
    told = mine.standing("toy", STORE)
    assert told.state is State.SCHEDULED
    assert "Kueue" in told.message and "'team'" in told.message
    operator.admit(namespace, sent.id)
    operator.settle(namespace, sent.id, "Running")
    assert mine.standing("toy", STORE).state is State.RUNNING


def test_a_deadline_ends_it(namespace, target, operator):
    mine = target_of(profile(namespace, deadline_s=60))
    sent = mine.submit(submission())
    operator.settle(namespace, sent.id, "Running")
    operator.pass_time(namespace, sent.id, 61)
    told = mine.standing("toy", STORE)
    assert told.state is State.FAILED
    assert "deadline of 60 s" in told.message


def test_the_init_containers_log_says_why_files_are_not_there(target, operator, namespace, api):
    sent = target.submit(submission())
    operator.settle(namespace, sent.id, "Initializing")
    cluster = operator.status(namespace, sent.id)["rayClusterName"]
    (head,) = operator.pods.of_cluster(namespace, cluster, "head")
    name = head["metadata"]["name"]
    ended = {"name": "fetch-bundle", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}
    operator.objects.set_status(kind_of("Pod"), namespace, name, initContainerStatuses=[ended])
    operator.pods.logs.append(namespace, name, "fetch-bundle", "OSError: ACCESS_DENIED")
    told = target.standing("toy", STORE)
    assert "the head could not fetch the files: OSError: ACCESS_DENIED" in told.message
    assert "`env_secrets`" in told.action


def test_a_cluster_without_kuberay_says_so(target, api_server):
    definition = kind_of("CustomResourceDefinition")
    api_server.objects.delete(definition, "", "rayjobs.ray.io")
    with pytest.raises(TargetError, match="install KubeRay"):
        target.standing("toy", STORE)
