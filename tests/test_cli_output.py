"""What the command line writes: JSON, tables in pipes and in terminals, and how soon."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
from jsonschema import Draft202012Validator, ValidationError

from orchestrator.cli.console import print_json
from orchestrator.planning.sweep_file import SweepFile
from tests.cli import COMMAND, ROOT, fanflare, start, toy_file

__all__ = ["fanflare", "toy_file"]  # the fixtures

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
PROFILES = sorted((ROOT / "examples/clusters").glob("*.yaml"))

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


@pytest.mark.parametrize("option", [[], ["--profile"]], ids=["sweeps", "profiles"])
def test_the_schema_is_one(fanflare, option):
    Draft202012Validator.check_schema(fanflare("schema", *option).json)


@pytest.mark.parametrize("example", PROFILES, ids=lambda path: path.stem)
def test_the_schema_of_profiles_accepts_the_examples(fanflare, example):
    schema = Draft202012Validator(fanflare("schema", "--profile").json)
    content = SweepFile.read(example).data
    schema.validate(content)
    with pytest.raises(ValidationError):
        schema.validate({**content, "namespaces": "ml"})


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_schema_accepts_the_examples_and_refuses_a_misspelt_key(fanflare, example):
    schema = Draft202012Validator(fanflare("schema").json)
    content = SweepFile.read(example).data
    schema.validate(content)
    with pytest.raises(ValidationError):
        schema.validate({**content, "sedes": 1})
    with pytest.raises(ValidationError):
        schema.validate({**content, "space": {"method": "probe", "learnin_rate": 1}})


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
