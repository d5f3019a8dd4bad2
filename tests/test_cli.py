"""The command line as a user meets it: exit codes, faults, resuming, looking at a sweep."""

import re
import shutil
import signal
import subprocess
import time
from collections import Counter

import pytest

from tests.cli import ROOT, fanflare, run, start, sweep_file, toy_file

__all__ = ["fanflare", "run", "toy_file"]  # the fixtures

MAX_LINES = 24
"""A screen."""

# Exit codes


def test_0_when_all_trials_finished(run, toy_file):
    ended = run(toy_file(seeds=3))
    assert ended.code == 0
    assert "toy: 6 trials, 6 finished" in ended.out
    assert re.search(r"1 +value=2 +2\.010 ± 0\.010 .* 3\.010 ± 0\.010 .* 3\b", ended.out)


def test_1_when_a_trial_failed_and_the_others_are_shown(run, toy_file):
    file = toy_file([{"value": [1, 2]}, {"value": 3, "fail": "raise"}], seeds=2)
    ended = run(file)
    assert ended.code == 1
    assert "toy: 6 trials, 4 finished, 2 failed" in ended.out
    assert "bug: ValueError: the toy broke" in ended.out
    assert "0 of 2" in ended.out
    assert "Traceback" not in ended.out + ended.err


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("name: x\nsedes: 3\n", ["line 2", "did you mean 'seeds'?"]),
        ("name: x\nspace: [1\n", ["not YAML", "line 3"]),
        ("name: x\nseeds: 1\nseeds: 2\n", ["line 3", "seeds"]),
        ("just words\n", ["mapping"]),
        ("", ["mapping"]),
        ("name: x\npipeline: transfr\n", ["line 2", "did you mean 'transfer'?"]),
        (
            "name: x\nmodels: all-MiniLM\ntasks: bbc-new\nspace: {method: probe}\n",
            ["line 2", "all-MiniLM-L6-v2", "line 3", "did you mean 'bbc-news'?"],
        ),
        ("name: x\npipeline: tests.toy:TOY\nspace: {valeu: 1}\n", ["line 3", "'value'"]),
        ("name: x\npipeline: tests.toy:TOY\nmetric: {name: scor}\n", ["line 3", "'score'"]),
        ("name: x\npipeline: tests.toy:TOY\nresources: {num_cpus: 999}\n", ["line 3", "999"]),
    ],
)
def test_2_for_a_sweep_with_faults_told_on_one_screen(run, tmp_path, content, told):
    ended = run(sweep_file(tmp_path, content), "--store", tmp_path / "store")
    assert ended.code == 2
    assert ended.out == ""
    assert "Traceback" not in ended.err
    assert len(ended.err.splitlines()) <= MAX_LINES
    for words in told:
        assert words in ended.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "nowhere.yaml"], "nowhere.yaml"),
        (["plan", "nowhere"], "no sweep of that name"),
        (["status", "nowhere"], "no sweep of that name"),
        (["report", "nowhere"], "no sweep of that name"),
        (["ui", "nowhere"], "no sweep of that name"),
        (["logs", "0123"], "no trial's id begins with '0123'"),
        (["run", "examples/own-data.yaml", "--backend", "inlin"], "did you mean 'inline'?"),
        (["status", "toy", "--store", "nothing://here"], "nothing://here"),
        (["logs", "0123", "--store", "nothing://here"], "nothing://here"),
        (["plam", "x"], "plan"),
        (["plan"], "SWEEP"),
        (["plan", "x", "--jsn"], "--json"),
        (["ui", "x", "--port", "high"], "--port"),
    ],
)
def test_2_for_a_command_that_makes_no_sense(fanflare, tmp_path, monkeypatch, arguments, told):
    monkeypatch.setenv("FANFLARE_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(ROOT)
    ended = fanflare(*arguments)
    assert ended.code == 2
    assert ended.out == ""
    assert told in ended.err
    assert "Traceback" not in ended.err
    assert len(ended.err.splitlines()) <= MAX_LINES


def test_130_when_interrupted_and_the_same_command_goes_on(run, toy_file, toy):
    file = toy_file({"value": list(range(20)), "sleep_s": 0.2})
    process = start("run", file, "--backend", "inline")
    _wait_until(lambda: toy.num_executed("evaluate") >= 3)  # so that two have ended
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted" in out
    assert f"Continue with: fanflare run {file}" in out
    assert "Traceback" not in out + err
    ended = run(file)
    known, new = map(int, re.search(r"(\d+) were known, (\d+) new", ended.out).groups())
    assert ended.code == 0
    assert known >= 2
    assert known + new == 20
    assert toy.num_executed("evaluate") in (20, 21)  # one may have been cut off before its end


@pytest.mark.parametrize(("number", "after_s"), [(signal.SIGINT, 1.0), (signal.SIGTERM, 1.5)])
def test_130_when_told_to_end_while_ray_starts(toy_file, number, after_s):
    """Ray puts a handler of its own in place, which would end the process without a word."""
    process = start("run", toy_file({"value": 1}), "--backend", "ray")
    assert "ray" in process.stderr.readline()
    time.sleep(after_s)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Continue with" in out
    assert "Traceback" not in out + err


def test_a_disk_that_fills_up_is_told_in_a_line(
    fanflare, small_disk, tmp_path_factory, monkeypatch
):
    monkeypatch.setattr("cluster.store.MIN_FREE_BYTES", 0)
    sweep = {"name": "full", "pipeline": "tests.toy:TOY", "tracking": "off",
             "space": {"value": list(range(40)), "anything": ["x" * 40_000]}}  # fmt: skip
    file = sweep_file(tmp_path_factory.mktemp("full"), sweep)
    ended = fanflare("run", file, "--store", small_disk / "store", "--backend", "inline")
    assert ended.code == 1
    assert "No space left" in ended.out + ended.err
    assert "Traceback" not in ended.out + ended.err


def test_what_a_store_that_is_read_only_has_is_shown(fanflare, toy_file, small_disk, monkeypatch):
    monkeypatch.setattr("cluster.store.MIN_FREE_BYTES", 0)
    file, store = toy_file(tracking="off"), small_disk / "store"
    assert fanflare("run", file, "--store", store, "--backend", "inline").code == 0
    remount = [shutil.which("mount"), "-o", "remount,ro", str(small_disk)]
    subprocess.run(remount, check=True, capture_output=True, timeout=20)
    status = fanflare("status", file, "--store", store, "--json")
    assert (status.code, status.json["state"]) == (0, "FINISHED")
    assert fanflare("report", file, "--store", store).code == 0


# What a second run does


def test_a_second_run_computes_nothing_and_says_so(run, toy_file, toy):
    file = toy_file(seeds=2)
    run(file)
    ended = run(file)
    assert ended.code == 0
    assert "Nothing to compute: all 4 were known" in ended.out
    assert toy.num_executed() == 4


def test_known_trials_that_lack_the_metric_now_are_not_counted_as_new(run, tmp_path):
    def file(metric, values):
        space = {"command": """echo '{{"f1": {f1}}}'""", "metrics": "stdout", "f1": values}
        keys = {"name": "s", "pipeline": "command", "tracking": "off", "store": "store"}
        return sweep_file(
            tmp_path, {**keys, "metric": {"name": metric, "mode": "max"}, "space": space}
        )

    assert run(file("f1", [1, 2])).code == 0
    ended = run(file("f2", [1, 2, 3]))
    assert ended.code == 1
    assert "2 were known, 1 new" in ended.out


def test_fresh_computes_all_again(run, toy_file, toy):
    file = toy_file(seeds=2)
    run(file)
    assert run(file, "--fresh").code == 0
    assert toy.num_executed() == 8


def test_failed_trials_are_tried_again_unless_told_otherwise(run, toy_file, toy):
    file = toy_file({"value": 1, "fail": "raise", "fail_times": 1})
    assert run(file).code == 1
    assert run(file, "--no-retry-failed").code == 1
    assert toy.num_executed() == 1
    assert run(file).code == 0
    assert toy.num_executed() == 2


# Looking at a sweep, by file or by name


def test_logs_show_the_traceback_of_a_failed_trial(run, fanflare, toy_file, toy):
    file = toy_file({"value": 1, "fail": "raise"})
    hint = re.search(r"Why: fanflare (logs .*)", run(file).out)
    ended = fanflare(*hint[1].split())
    assert ended.code == 0
    assert "toy/work" in ended.out
    assert "working on 1, seed 0" in ended.out
    assert "Traceback" in ended.out
    assert "ValueError: the toy broke" in ended.out
    trial = hint[1].split()[1]
    assert fanflare("logs", trial[:6], "--store", toy.store).out == ended.out


def test_logs_of_several_trials_at_once_are_refused(run, fanflare, toy_file, toy):
    file = toy_file({"value": list(range(17))})  # more than there are first digits
    run(file)
    digits = Counter(trial["id"][0] for trial in fanflare("status", file, "--json").json["trials"])
    ended = fanflare("logs", digits.most_common(1)[0][0], "--store", toy.store)
    assert ended.code == 2
    assert "several" in ended.err


def test_a_sweep_is_found_by_its_name(run, fanflare, toy_file, toy):
    run(toy_file())
    by_name = [fanflare(verb, "toy", "--store", toy.store) for verb in ("status", "report", "plan")]
    assert [ended.code for ended in by_name] == [0, 0, 0]
    assert "toy is FINISHED: 2 finished" in by_name[0].out
    assert "toy: 2 trials, 2 finished" in by_name[1].out
    assert "2 known, 0 to run" in by_name[2].out


def test_a_suggested_command_leads_to_the_same_store(run, toy_file, tmp_path):
    other = tmp_path / "another store"
    out = run(toy_file({"value": 1, "fail": "raise"}), "--store", other).out
    assert re.findall(r"--store '(.*)'", out) == [str(other)] * out.count("fanflare ")


def test_status_from_another_process_while_a_run_goes_on(fanflare, toy_file, toy, tmp_path):
    looked_at = tmp_path / "looked at"
    space = [{"value": 1}, {"value": 2, "until": str(looked_at)}, {"value": 3}]
    file = toy_file(space, max_concurrent=1)
    process = start("run", file, "--backend", "inline")
    _wait_until(lambda: toy.num_executed() >= 2)
    status = fanflare("status", file, "--json").json
    busy = fanflare("run", file, "--backend", "inline")
    looked_at.touch()
    assert process.wait(timeout=60) == 0
    assert status["state"] == "RUNNING"
    assert status["counts"] == {"FINISHED": 1, "RUNNING": 1, "SCHEDULED": 1}
    assert [job["stages"] for job in status["running"]] == [["toy/work", "toy/evaluate"]]
    assert busy.code == 2
    assert f"process {process.pid}" in busy.err
    assert fanflare("status", file, "--json").json["state"] == "FINISHED"


def test_ui_without_tracking_says_so(run, fanflare, toy_file):
    file = toy_file()
    run(file)
    ended = fanflare("ui", file)
    assert ended.code == 2
    assert "tracking" in ended.err


def _wait_until(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
