"""`submit`, `cancel`, `retry` on this machine: the sweep goes on when the terminal is gone."""

import json
import signal
import time

import pytest

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


def test_a_manifest_is_printed_as_yaml_or_json(fanflare, toy_file, tmp_path):
    profile = sweep_file(
        tmp_path,
        {
            "target": "kubernetes",
            "image": "registry.example/fanflare:1",
            "storage": {"uri": (tmp_path / "results").as_uri()},
            "workers": {"cpu": {"num_cpus": 4, "memory_gib": 8, "max_replicas": 2}},
        },
        "prod.yaml",
    )
    file = toy_file(tracking="off")
    printed = fanflare("manifest", file, "--cluster", profile)
    assert printed.code == 0
    assert "kind: RayJob" in printed.out
    objects = json.loads(fanflare("manifest", file, "--cluster", profile, "--json").out)
    assert "RayJob" in {item["kind"] for item in objects}
