"""What the driver prints reaches the person who follows: every line, in order, each once."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from cluster.kubernetes.api import Api
from cluster.kubernetes.logs import driver_lines
from cluster.target import TargetError
from tests.kubernetes.conftest import REAL
from tests.kubernetes.kinds import kind_of
from tests.kubernetes.submissions import STORAGE, STORE, Naps, claim, profile, submission, target_of

LINES = [f"line {number}" for number in range(40)]


@pytest.fixture
def api(namespace, kubeconfig):
    return Api(profile(namespace), sleep=Naps())


@pytest.fixture
def sent(api, namespace):
    """A submission, and its target."""
    if not STORAGE:
        claim(api)
    target = target_of(profile(namespace))
    return target.submit(submission()), target


@pytest.fixture
def running(sent, operator, namespace):
    """The name of a submission whose driver runs."""
    operator.settle(namespace, sent[0].id, "Running")
    return sent[0].id


def finish(operator, namespace, name):
    operator.finish(namespace, name)
    operator.settle(namespace, name, "Complete")


def follow(api, name):
    """Return the lines that follow yields, and a thread that gathers them."""
    found = []

    def gather():
        for line in driver_lines(api, name, follow=True, poll_s=0.05):
            found.append(line)

    thread = threading.Thread(target=gather)
    thread.start()
    return found, thread


def test_a_drivers_lines_come_once(sent, reach, namespace, request):
    standing, target = sent
    reach(namespace, standing.id, "Running")
    if not REAL:
        operator = request.getfixturevalue("operator")
        operator.print(namespace, standing.id, "line 0", "line 1", "line 2")
    reach(namespace, standing.id, "Complete")
    lines = list(target.logs("toy", STORE, follow=True))
    assert [line for line in lines if line.startswith("line ")] == ["line 0", "line 1", "line 2"]


def test_without_follow_what_there_is_comes_at_once(running, operator, namespace, api):
    operator.print(namespace, running, *LINES[:3])
    assert list(driver_lines(api, running, follow=False)) == LINES[:3]


def test_following_ends_when_the_submission_does(running, operator, namespace, api):
    found, thread = follow(api, running)
    for line in LINES[:5]:
        operator.print(namespace, running, line)
    finish(operator, namespace, running)
    thread.join(20)
    assert not thread.is_alive()
    assert found == LINES[:5]


@pytest.mark.parametrize("clean", [False, True], ids=["cut", "cut as if ended"])
def test_a_cut_stream_is_taken_up_without_loss_or_repetition(
    running, operator, namespace, api, api_server, clean
):
    for after in (3, 1, 7, 2):
        api_server.faults.cut_logs(after, clean=clean)
    found, thread = follow(api, running)
    for start in range(0, len(LINES), 8):
        operator.print(namespace, running, *LINES[start : start + 8])
    finish(operator, namespace, running)
    thread.join(20)
    assert found == LINES


@pytest.mark.parametrize("clean", [False, True])
def test_what_is_read_after_the_end_is_whole_although_cut(
    running, operator, namespace, api, api_server, clean
):
    operator.print(namespace, running, *LINES)
    finish(operator, namespace, running)
    for after in (4, 9) if clean else (4, 4, 4, 1):
        api_server.faults.cut_logs(after, clean=clean)
    assert list(driver_lines(api, running, follow=False)) == LINES


def test_equal_lines_of_one_moment_all_come(running, operator, namespace, api, api_server):
    now = datetime.now(UTC)
    pod = operator.pods.submitter(namespace, running)["metadata"]["name"]
    for after in range(3):
        stamp = now + timedelta(microseconds=after)
        operator.pods.logs.append(namespace, pod, "ray-job-submitter", *["."] * 5, at=stamp)
    api_server.faults.cut_logs(7)
    finish(operator, namespace, running)
    assert list(driver_lines(api, running, follow=True)) == ["."] * 15


def test_rays_own_words_are_left_out(running, operator, namespace, api):
    operator.print(
        namespace,
        running,
        "2026-11-21 22:33:16,123\tINFO cli.py:41 -- Job submission server address: http://head:8265",
        "2026-11-21 22:33:16 INFO of the driver",
        "2026-11-21 22:33:18,001\tSUCC cli.py:65 -- Job 'toy' succeeded",
    )
    finish(operator, namespace, running)
    assert list(driver_lines(api, running, follow=True)) == [
        "2026-11-21 22:33:16 INFO of the driver"
    ]


def test_a_further_submitter_of_one_job_repeats_nothing(running, operator, namespace, api):
    job = "batch.kubernetes.io/controller-uid"
    first = operator.pods.submitter(namespace, running)
    first["metadata"]["labels"][job] = "one"
    operator.objects.replace(kind_of("Pod"), namespace, first)
    operator.print(namespace, running, "a", "b", "b")
    operator.pods.end(operator.pods.submitter(namespace, running), 1)
    metadata = {"name": "toy-second", "labels": first["metadata"]["labels"]}
    second = operator.objects.create(
        kind_of("Pod"), namespace, {"metadata": metadata, "spec": first["spec"]}
    )
    second["metadata"]["creationTimestamp"] = "2999-01-01T00:00:00Z"
    operator.pods.run(second)
    operator.pods.logs.append(namespace, "toy-second", "ray-job-submitter", "a", "b", "b", "b", "c")
    finish(operator, namespace, running)
    assert list(driver_lines(api, running, follow=True)) == ["a", "b", "b", "b", "c"]


def test_a_new_attempt_is_followed_on(running, operator, namespace, api):
    found, thread = follow(api, running)
    operator.print(namespace, running, "attempt 1")
    while "attempt 1" not in found:
        thread.join(0.02)
    operator.lose_head(namespace, running)
    operator.settle(namespace, running, "Running")
    operator.print(namespace, running, "attempt 2")
    finish(operator, namespace, running)
    thread.join(20)
    assert found == ["attempt 1", "attempt 2"]


def test_a_busy_server_is_waited_for(running, operator, namespace, api, api_server):
    operator.print(namespace, running, *LINES[:3])
    finish(operator, namespace, running)
    api_server.faults.fail(503, times=2, resource="pods/log")
    api_server.faults.fail(0, times=1, resource="pods/log")
    assert list(driver_lines(api, running, follow=True)) == LINES[:3]


def test_lines_that_are_gone_with_their_pod_are_told(running, operator, namespace, api, sent):
    finish(operator, namespace, running)
    operator.pods.delete(kind_of("Job"), namespace, running)
    with pytest.raises(TargetError, match="`fanflare logs TRIAL`"):
        list(driver_lines(api, running, follow=True))


def test_before_the_driver_begins_there_is_nothing(sent, api, operator, namespace):
    operator.step(namespace, sent[0].id)
    assert list(driver_lines(api, sent[0].id, follow=False)) == []


def test_an_unknown_sweep_is_told(sent):
    with pytest.raises(TargetError, match="no submission of 'other'"):
        sent[1].logs("other", STORE)
