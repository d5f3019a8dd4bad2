"""Submissions to a real Ray head through its Jobs API: cut streams, tokens, what it lacks."""

import os
import uuid
from dataclasses import replace

import pytest
import requests

from cluster.bundle import Bundle
from cluster.job import Resources
from cluster.naming import job_name, labels
from cluster.profile import Profile
from cluster.ray_api import RefusedError
from cluster.target import Submission, TargetError, open_target
from tests.cluster.ray_cluster import ray_cluster
from tests.environment import FOLDER

pytest.importorskip("aiohttp_cors", reason="the Jobs API needs ray[default]")
pytestmark = pytest.mark.timeout(200)

SLOWLY = """
import time
for number in range(60):
    print("line", number)
    time.sleep(0.05)
"""
WAITS = """
import signal, sys, time
def end(*_):
    print("in good order")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("up")
time.sleep(60)
"""


@pytest.fixture(scope="module")
def head():
    with ray_cluster(FOLDER / "jobs") as cluster:
        cluster.start_head()
        yield cluster


@pytest.fixture
def target(head, monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_AUTH_TOKEN", head.token)
    return opened(head.url, tmp_path)


def opened(url, folder, **keys):
    storage = {"uri": f"file://{folder}"}
    return open_target(Profile.model_validate({"target": {"ray": url}, "storage": storage, **keys}))


def submission(program=SLOWLY, files=None, shape=None):
    name = f"Toys {uuid.uuid4().hex[:8]}"
    bundle = Bundle(files={"drive.py": program.encode(), **(files or {})})
    shapes = [shape or Resources(num_cpus=1)]
    return Submission(name=name, bundle=bundle, module="drive", shapes=shapes, owner="ann@example",
                      store="s3://bucket/results")  # fmt: skip


def test_a_cut_log_stream_goes_on_where_it_was(target, monkeypatch):
    sent = submission(SLOWLY)
    target.submit(sent)
    tail, num_streams = target._api.tail, []

    def cut(job_id):
        num_streams.append(1)
        for number, chunk in enumerate(filter(None, tail(job_id))):
            if number == len(num_streams):
                yield chunk[:-3]  # amid a line
                return
            yield chunk

    monkeypatch.setattr(target._api, "tail", cut)
    lines = list(target.logs(sent.name, sent.store, follow=True))
    assert lines == [f"line {number}" for number in range(60)]
    assert len(num_streams) > 1


def test_of_two_submitters_at_the_same_moment_one_joins_the_other(target, head, tmp_path):
    sent = submission(WAITS)
    late = opened(head.url, tmp_path)
    late._newest = lambda name, store: None  # it looked before the other one had submitted
    first = target.submit(sent)
    with pytest.raises(RefusedError, match="already exists"):
        late._send(sent, first.id)
    assert late.submit(sent).id == first.id
    target.cancel(sent.name, sent.store)


def test_what_ray_never_places_cannot_be_cancelled_in_silence(target, monkeypatch):
    monkeypatch.setattr("cluster.ray_jobs.PENDING_S", 1.0)
    sent = submission()
    told = {"metadata": labels(sent.name, sent.store, "ann"), "entrypoint_num_gpus": 1}
    name = job_name(sent.name, sent.store, 1)
    target._api.ask(lambda c: c.submit_job(entrypoint="true", submission_id=name, **told))
    assert "waiting for resources" in target.standing(sent.name, sent.store).message
    with pytest.raises(TargetError, match=r"has not begun .*: see on its dashboard"):
        target.cancel(sent.name, sent.store)


def test_why_a_driver_failed_is_a_sentence_without_its_logs(target):
    sent = submission("print('no'); raise SystemExit(3)")
    target.submit(sent)
    list(target.logs(sent.name, sent.store, follow=True))
    message = target.standing(sent.name, sent.store).message
    assert message == "Job entrypoint command failed with exit code 3"


def test_what_is_too_large_is_told_with_the_largest_file(target):
    sent = submission(files={"data/rows.bin": os.urandom(101 * 2**20)})
    with pytest.raises(TargetError, match=r"takes no 101 MiB.* data/rows.bin \(101.0 MiB\)"):
        target.submit(sent)


def test_all_problems_are_told_at_once(target, head, tmp_path):
    sent = submission(shape=Resources(num_cpus=4, num_gpus=1))
    pod = {"num_cpus": 8, "num_gpus": 1, "memory_gib": 16, "max_replicas": 2}
    assert opened(head.url, tmp_path, workers={"gpu": pod}).problems(sent) == []
    env = {"KEY": {"secret": "keys", "key": "key"}}
    bad = opened(head.url, tmp_path, env=env, storage={"uri": "file:///proc/none"})
    found = {problem.subject: problem for problem in bad.problems(sent)}
    assert found.keys() == {"env.KEY", "storage.uri", "resources"}
    assert "4 CPUs, 1 GPUs" in found["resources"].message
    volume = opened(head.url, tmp_path, storage={"pvc": "disk"}, workers={"gpu": pod})
    assert [problem.subject for problem in volume.problems(sent)] == ["storage"]


def test_a_tracking_uri_of_this_machine_serves_no_head_elsewhere(tmp_path):
    sent = replace(submission(), tracking_uri="sqlite:///runs.db")
    here, there = (opened(f"http://{host}:9", tmp_path) for host in ("127.0.0.1", "127-0-0-1.test"))
    assert "tracking_uri" not in {problem.subject for problem in here.problems(sent)}
    found = {problem.subject: problem.message for problem in there.problems(sent)}
    assert "is a file of SQLite" in found["tracking_uri"]


def test_another_version_of_ray_is_told(target, monkeypatch):
    monkeypatch.setattr("ray.__version__", "2.1.0")
    found = {problem.subject: problem.message for problem in target.problems(submission())}
    assert found["Ray version"].endswith("this machine 2.1.0")


@pytest.mark.parametrize("token", ["", "not-the-token"])
def test_a_token_that_is_wrong_or_missing_is_told_without_showing_it(
    head, tmp_path, monkeypatch, token
):
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    target, sent = opened(head.url, tmp_path), submission()
    (problem,) = target.problems(sent)
    assert problem.subject == "target.ray"
    said = "does not accept the token from RAY_AUTH_TOKEN" if token else "wants a token"
    assert said in problem.message
    for ask in (target.submit, lambda s: list(target.logs(s.name, s.store))):
        with pytest.raises(TargetError, match=said) as error:
            ask(sent)
        assert "not-the-token" not in str(error.value)


def test_the_token_is_also_taken_from_a_file(head, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    path = tmp_path / "token"
    path.write_text(f"{head.token}\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    assert opened(head.url, tmp_path).standing("none", "file:///none") is None


def test_a_head_that_does_not_answer_is_told_with_what_to_do(tmp_path, monkeypatch):
    target = opened("http://127.0.0.1:9", tmp_path)
    (problem,) = target.problems(submission())
    assert "no answer" in problem.message
    assert "port-forward" in problem.remedy
    monkeypatch.setenv("RAY_AUTH_TOKEN", "any")
    with pytest.raises((TargetError, requests.RequestException), match="no answer"):
        target._api.ask(lambda client: client.list_jobs(), pauses_s=())
