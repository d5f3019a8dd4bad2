"""`submit`, `cancel`, `retry` on this machine: the sweep goes on when the terminal is gone."""

import json
import signal
import tempfile
import time

import pytest

from cluster.local_target import LocalTarget
from tests.cli import fanflare, run, start, sweep_file, toy_file

__all__ = ["fanflare", "run", "toy_file"]  # fixtures


@pytest.fixture
def submitted(fanflare):
    """Submit a sweep, and end it if the test does not."""
    files = []

    def submit(file, *options):
        files.append(file)
        return fanflare("submit", file, *options)

    yield submit
    for file in files:
        fanflare("cancel", file)


def counts(fanflare, file):
    return fanflare("status", file, "--json").json["counts"]


def submission(fanflare, file):
    return fanflare("status", file, "--json").json["submission"]


def wait_for(condition, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.3)


def test_a_submitted_sweep_ends_alone_is_not_sent_twice_and_grows(fanflare, submitted, toy_file):
    file = toy_file({"value": [1, 2]}, tracking="off")
    sent = submitted(file, "--wait")
    assert sent.code == 0
    assert "Submitted toy" in sent.out
    assert "FINISHED" in sent.out
    again = submitted(file)
    assert "Nothing to compute" in again.out
    # It grows, and a trial that fails is exit code 1.
    more = toy_file([{"value": [1, 2, 3]}, {"value": [4], "fail": "raise"}], tracking="off")
    grown = submitted(more, "--wait", "--json")
    assert grown.json["counts"] == {"FINISHED": 3, "FAILED": 1}
    assert grown.code == 1


def test_cancelled_it_keeps_what_is_finished_and_retry_does_the_rest(fanflare, submitted, toy_file):
    space = [{"value": [1]}, {"value": [2], "sleep_s": 20}]
    file = toy_file(space, tracking="off")
    first = submitted(file, "--json").json
    assert first["is_new"]
    attached = submitted(file, "--json").json
    assert not attached["is_new"]
    assert attached["submission"]["id"] == first["submission"]["id"]
    wait_for(lambda: counts(fanflare, file).get("FINISHED") == 1)
    assert "Cancelled" in fanflare("cancel", file).out
    wait_for(lambda: submission(fanflare, file)["state"] == "FINISHED")
    assert fanflare("status", file, "--json").json["state"] == "KILLED"
    assert "Nothing of toy runs" in fanflare("cancel", file).out
    assert "Submitted toy" in fanflare("retry", file).out


def test_results_go_to_a_bucket_and_runs_into_the_current_folder(
    fanflare, toy_file, s3_location, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    file = toy_file(store=s3_location, tracking={"uri": "sqlite:///runs.db"})
    ended = fanflare("submit", file, "--wait", "--json")
    assert (ended.code, ended.json["counts"]) == (0, {"FINISHED": 2})
    assert ended.json["submission"]["state"] == "FINISHED"
    assert fanflare("status", "toy", "--store", s3_location, "--json").json == ended.json
    assert [path.parent for path in tmp_path.rglob("runs.db")] == [tmp_path]


def test_whoever_sends_another_version_of_what_runs_is_told(fanflare, submitted, toy_file):
    first = submitted(toy_file({"value": [1], "sleep_s": 20}, tracking="off"), "--json").json
    other = submitted(toy_file({"value": [1, 2], "sleep_s": 20}, tracking="off"), "--wait")
    assert other.code == 2
    assert "another version" in other.err + other.out
    told = submitted(toy_file({"value": [1, 2], "sleep_s": 20}, tracking="off"), "--json")
    assert (told.code, told.json["is_new"], told.json["is_same"]) == (2, False, False)
    assert told.json["submission"]["id"] == first["submission"]["id"]


def test_of_two_that_send_at_one_moment_the_later_is_not_told_that_it_runs(
    fanflare, submitted, toy_file, monkeypatch
):
    submitted(toy_file({"value": [1], "sleep_s": 20}, tracking="off"))
    standing, num_asked = LocalTarget.standing, []

    def late(target, name, store):
        num_asked.append(1)  # first it looked before the other one had sent
        return standing(target, name, store) if len(num_asked) > 1 else None

    monkeypatch.setattr(LocalTarget, "standing", late)
    told = submitted(toy_file({"value": [2], "sleep_s": 20}, tracking="off"), "--json")
    assert (told.code, told.json["is_new"], told.json["is_same"]) == (2, False, False)


def test_what_fails_before_it_begins_is_known_by_its_name(fanflare, toy_file, tmp_path):
    file = toy_file(tracking={"uri": "http://127.0.0.1:9"})
    ended = fanflare("submit", file, "--wait", "--json")
    assert (ended.code, ended.json["counts"]) == (1, {"SCHEDULED": 2})
    assert ended.json["submission"]["state"] == "FAILED"
    by_name = ("toy", "--store", tmp_path / "store")
    assert "exit code 3" in fanflare("status", *by_name).out
    assert "127.0.0.1:9" in fanflare("logs", "--sweep", *by_name).out


def test_it_can_be_cancelled_by_its_name_at_once(fanflare, submitted, toy_file, tmp_path):
    submitted(toy_file({"value": [1], "sleep_s": 20}, tracking="off"))
    by_name = ("toy", "--store", tmp_path / "store")
    assert "Cancelled" in fanflare("cancel", *by_name).out
    assert fanflare("status", *by_name, "--json").json["submission"]["state"] == "KILLED"


def test_retry_sends_what_was_run_whatever_has_become_of_the_file(
    run, fanflare, toy_file, tmp_path
):
    file = toy_file([{"value": [1]}, {"value": [2], "fail": "raise"}], tracking="off")
    run(file)
    file.unlink()
    again = fanflare("retry", "toy", "--store", tmp_path / "store", "--wait", "--json")
    assert again.json["counts"] == {"FINISHED": 1, "FAILED": 1}
    assert again.json["submission"]["state"] == "FINISHED"


def test_whoever_stops_waiting_does_not_stop_the_sweep(fanflare, submitted, toy_file):
    file = toy_file({"value": [1], "sleep_s": 20}, tracking="off")
    waiting = start("submit", file, "--wait")
    wait_for(lambda: (fanflare("status", file, "--json").json["submission"] or {}).get("id"))
    time.sleep(1)
    waiting.send_signal(signal.SIGINT)
    _, told = waiting.communicate(timeout=30)
    assert waiting.returncode == 130
    assert "goes on" in told
    assert submission(fanflare, file)["state"] == "RUNNING"
    fanflare("cancel", file)


def test_nothing_is_sent_on_a_dry_run(fanflare, toy_file):
    file = toy_file({"value": [1, 2]}, tracking="off")
    told = fanflare("submit", file, "--dry-run", "--json").json
    assert told["num_trials"] == 2
    assert told["problems"] == []
    assert fanflare("status", file, "--json").json["submission"] is None


def test_the_store_tells_where_the_cluster_cannot_be_asked(run, fanflare, toy_file, tmp_path):
    file = toy_file({"value": [1, 2]}, tracking="off", store=str(tmp_path / "results"))
    run(file)
    storage = {"uri": (tmp_path / "results").as_uri()}
    profile = {"target": {"ray": "http://127.0.0.1:9"}, "storage": storage}
    gone = sweep_file(tmp_path, profile, "gone.yaml")
    told = fanflare("status", "toy", "--cluster", gone)
    assert told.code == 0
    assert "2 finished" in told.out
    assert "127.0.0.1:9" in told.out
    unknown = fanflare("status", "other", "--cluster", gone)
    assert unknown.code == 2


def test_a_profile_with_faults_is_told_before_anything(fanflare, toy_file, tmp_path):
    profile = tmp_path / "prod.yaml"
    profile.write_text("target: kubernetes\nnamespaces: ml\n")
    ended = fanflare("submit", toy_file(), "--cluster", profile)
    assert ended.code == 2
    assert "line 2: namespaces: unknown key" in ended.err
    assert "did you mean 'namespace'?" in ended.err


def test_a_manifest_is_for_kubernetes(fanflare, toy_file):
    ended = fanflare("manifest", toy_file())
    assert ended.code == 2
    assert "'local'" in ended.err


def test_logs_without_a_trial_want_a_sweep(fanflare):
    ended = fanflare("logs")
    assert ended.code == 2
    assert "--sweep" in ended.err


def test_a_name_that_nobody_knows(fanflare, tmp_path):
    for verb in ("cancel", "retry", "status", "pull"):
        ended = fanflare(verb, "nobody", "--store", tmp_path)
        assert ended.code == 2
        assert "nobody" in ended.err


def test_a_manifest_is_printed_as_yaml_or_json(fanflare, tmp_path):
    profile = sweep_file(
        tmp_path,
        {
            "target": "kubernetes",
            "image": "registry.example/fanflare:1",
            "storage": {"pvc": "results"},
            "workers": {"cpu": {"num_cpus": 4, "memory_gib": 8, "max_replicas": 2}},
        },
        "prod.yaml",
    )
    metric = {"name": "loss", "mode": "min"}
    sweep = {"name": "own", "pipeline": "command", "metric": metric, "tracking": "off"}
    file = sweep_file(tmp_path, {**sweep, "space": {"command": "ls"}}, "own.yaml")
    printed = fanflare("manifest", file, "--cluster", profile)
    assert printed.code == 0
    assert "kind: RayJob" in printed.out
    objects = json.loads(fanflare("manifest", file, "--cluster", profile, "--json").out)
    assert "RayJob" in {item["kind"] for item in objects}


def test_a_manifest_is_refused_for_what_submit_refuses(fanflare, toy_file, tmp_path):
    bucket = tmp_path / "results"
    profile = sweep_file(
        tmp_path,
        {
            "target": "kubernetes",
            "image": "registry.example/fanflare:1",
            "storage": {"uri": bucket.as_uri()},
            "workers": {"cpu": {"num_cpus": 4, "memory_gib": 8, "max_replicas": 2}},
        },
        "prod.yaml",
    )
    file = toy_file(tracking={"uri": "http://localhost:5000"}, resources={"num_cpus": 9})
    sent = fanflare("submit", file, "--cluster", profile, "--dry-run")
    printed = fanflare("manifest", file, "--cluster", profile)
    assert (sent.code, printed.code, printed.out) == (2, 2, "")
    for subject in ("tracking_uri", "storage.uri", "workers.cpu"):
        assert f"  {subject}: " in printed.err
    assert not list(bucket.glob("bundles/*"))
