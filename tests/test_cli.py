"""The command line as a user meets it: exit codes, what is printed where, and what is not."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time

import jsonschema
import pytest

from orchestrator.cli.console import print_json
from tests.cli import COMMAND, ROOT, fanflare, start, sweep_file

__all__ = ["fanflare"]  # the fixture

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
MAX_LINES = 24
"""A screen."""

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.fixture
def toy_file(toy, tmp_path):
    """Write a toy sweep into a file."""

    def write(space=None, **keys):
        name = f"{keys.get('name', 'toy')}.yaml"
        return sweep_file(tmp_path, toy.sweep(space or {"value": [1, 2]}, **keys), name)

    return write


@pytest.fixture
def run(fanflare):
    """Run a sweep in this process."""
    return lambda file, *options: fanflare("run", file, "--backend", "inline", *options)


# Exit codes


def test_0_when_all_trials_finished(run, toy_file):
    ended = run(toy_file(seeds=3))
    assert ended.code == 0
    assert "toy: 6 trials, 6 finished" in ended.out
    assert re.search(r"1 +value=2 +2\.010 ± 0\.010 +3\.010 ± 0\.010 +3\b", ended.out)


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
    _wait_until(lambda: toy.num_executed("evaluate") >= 2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted" in out
    assert f"Continue with: fanflare run {file}" in out
    assert "Traceback" not in out + err
    before = toy.num_executed("evaluate")
    ended = run(file)
    assert ended.code == 0
    assert toy.num_executed("evaluate") == 20
    assert f"{before} were known, {20 - before} new" in ended.out


def test_130_when_interrupted_while_ray_starts(toy_file):
    process = start("run", toy_file({"value": 1}), "--backend", "ray")
    assert "ray" in process.stderr.readline()
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Continue with" in out
    assert "Traceback" not in out + err


# What a second run does


def test_a_second_run_computes_nothing_and_says_so(run, toy_file, toy):
    file = toy_file(seeds=2)
    run(file)
    ended = run(file)
    assert ended.code == 0
    assert "Nothing to compute: all 4 were known" in ended.out
    assert toy.num_executed() == 4


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
    run(toy_file({"value": list(range(17))}))
    ended = fanflare("logs", "", "--store", toy.store)
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


def test_status_from_another_process_while_a_run_goes_on(fanflare, toy_file, toy):
    file = toy_file({"value": [1, 2, 3], "sleep_s": 1.5}, max_concurrent=1)
    process = start("run", file, "--backend", "inline")
    _wait_until(lambda: toy.num_executed() >= 2)
    status = fanflare("status", file, "--json").json
    busy = fanflare("run", file, "--backend", "inline")
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


# JSON


@pytest.mark.parametrize("verb", ["plan", "run", "status", "report"])
def test_json_stands_alone_on_standard_output(fanflare, toy_file, verb):
    backend = ["--backend", "inline"] if verb == "run" else []
    ended = fanflare(
        verb, toy_file([{"value": 1}, {"value": 2, "fail": "raise"}]), "--json", *backend
    )
    assert ended.code == (1 if verb == "run" else 0)
    assert ended.json["sweep"] == "toy"
    assert len(ended.json["trials"]) == 2


def test_numbers_that_json_does_not_have_are_null(capsys):
    print_json({"a": [float("nan"), float("inf"), 1.5], "b": (True, None)})
    assert json.loads(capsys.readouterr().out) == {"a": [None, None, 1.5], "b": [True, None]}


def test_catalog_lists_what_a_sweep_may_name(fanflare):
    content = fanflare("catalog", "--json").json
    shown = fanflare("catalog").out
    names = [
        row["name"] for key in ("models", "tasks", "pipelines", "methods") for row in content[key]
    ]
    assert {"all-MiniLM-L6-v2", "bbc-news", "transfer", "probe", "full"} <= set(names)
    for name in names:
        assert name in shown
    assert "…" not in shown


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_schema_accepts_the_examples_and_refuses_a_misspelt_key(fanflare, example):
    from orchestrator.planning.sweep_file import SweepFile  # noqa: PLC0415

    schema = fanflare("schema").json
    content = SweepFile.read(example).data
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(content, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**content, "sedes": 1}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**content, "space": {"method": "probe", "learnin_rate": 1}}, schema)


def test_doctor_finds_this_machine_fit(fanflare, ray_session, tmp_path):
    ended = fanflare("doctor", "--store", tmp_path / "store", "--json")
    unfit = [finding for finding in ended.json["findings"] if not finding["is_fit"]]
    assert ended.code == (1 if unfit else 0)
    subjects = [finding["subject"] for finding in ended.json["findings"]]
    assert {"machine", "packages", "store", "Ray", "MLflow"} <= set(subjects)
    assert not {"Ray", "MLflow", "store"} & {finding["subject"] for finding in unfit}


# Streams


def test_piped_output_has_no_escape_codes_and_nothing_is_cut(toy_file):
    file = toy_file({"value": [1, 2], "tag": "a-tag-" * 15, "group": [0, 1]})
    process = start("run", file, "--backend", "inline", stderr=subprocess.STDOUT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "\x1b" not in out
    assert "…" not in out


def test_a_reader_that_goes_away_is_no_error():
    process = start("catalog")
    process.stdout.close()
    err = process.stderr.read()
    process.wait(timeout=60)
    assert "Traceback" not in err


def test_a_terminal_of_80_columns_is_enough(toy_file):
    space = [{"value": [1, 2], "group": [0, 1], "sleep_s": 0.2}, {"value": 3, "fail": "raise"}]
    file = toy_file(space, seeds=3)
    code, shown = _in_a_terminal("run", str(file), "--backend", "inline")
    assert code == 1
    assert "\x1b" in shown
    assert "toy/work" in shown
    lines = [ESCAPE.sub("", line) for line in re.split(r"[\r\n]+", shown)]
    too_long = [line for line in lines if len(line.rstrip()) > 80 and "fanflare " not in line]
    assert not too_long
    table = "\n".join(lines[next(i for i, line in enumerate(lines) if "config" in line) :])
    assert "toy: 15 trials, 12 finished, 3 failed" in table


# Speed of what only looks


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "examples/quickstart.yaml"]])
def test_looking_imports_nothing_heavy(arguments, tmp_path):
    script = (
        "import sys\n"
        "from orchestrator.cli import main\n"
        "try:\n    main()\nfinally:\n"
        "    heavy = {'torch', 'transformers', 'ray', 'mlflow', 'datasets', 'pandas', 'sklearn'}\n"
        "    sys.stderr.write(' '.join(sorted(heavy & set(sys.modules))))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        env={**os.environ, "FANFLARE_STORE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0
    assert ended.stderr == ""


def test_version(fanflare):
    assert re.fullmatch(r"fanflare \d+\.\d+\.\d+\n", fanflare("--version").out)


def _wait_until(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _in_a_terminal(*arguments):
    """Run a command in a terminal of 80 x 24; return its exit code and all that it wrote."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        environment = {**os.environ, "TERM": "xterm-256color"}
        environment.pop("COLUMNS", None)
        os.execve(COMMAND[0], [*COMMAND, *arguments], environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    written = b""
    try:
        while part := os.read(terminal, 65536):
            written += part
    except OSError:
        pass  # Linux says so at the end of a terminal
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), written.decode()
