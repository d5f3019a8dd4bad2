"""Runs real child processes: what a command may say, and how it may fail."""

import json
import shlex

import pytest

from cluster.job import Cause
from orchestrator import plan
from pipelines.command.metrics import split_names
from tests.pipelines.scripts import SCRIPT, Sweeps

WRITE = "{python} script.py --out={output_dir} --lr={lr} --seed={seed}"


@pytest.fixture
def sweeps(tmp_path):
    return Sweeps(tmp_path)


def inline(code: str) -> str:
    """Return a command that runs Python code."""
    return f'{{python}} -c "{code}"'


# What runs


def test_a_script_runs_once_a_trial_and_is_ranked(sweeps, backend):
    found = sweeps.run({"command": WRITE, "lr": [1e-4, 0.25]}, backend=backend, seeds=2)
    assert {tuple(r.metrics) for r in found.results} == {("validation/accuracy",)}
    best, _ = found.leaderboard.tasks[""]
    assert best.params == {"lr": 0.25}
    assert best.scores["validation"].mean == 3.0
    assert len(sweeps.ran()) == 4


def test_placeholders_become_words_as_they_stand_in_the_file(sweeps):
    command = "{python} script.py --out={output_dir} --a={a} --b={b} --{{c}}='{c} {d}' --e={e}"
    sweeps.run({"command": command, "a": 1e-5, "b": True, "c": "x; y", "d": "$HOME", "e": None})
    ((_, *words),) = sweeps.ran()
    assert words == ["--a=1e-05", "--b=true", "--{c}=x; y $HOME"]


def test_the_environment_of_a_command(sweeps, monkeypatch):
    monkeypatch.setenv("TAKEN_AWAY", "1")
    monkeypatch.setenv("PASSED_ON", "2")
    names = "TAKEN_AWAY PASSED_ON OWN NUMBER FANFLARE_SEED OMP_NUM_THREADS"
    code = (
        f"import os, json; values = [os.environ.get(name) for name in '{names}'.split()]; "
        "print(json.dumps(dict(accuracy=1, values=values)))"
    )
    env = {"TAKEN_AWAY": None, "OWN": "lr is {lr}", "NUMBER": 7}
    space = {"command": inline(code), "metrics": "stdout", "lr": 0.5, "env": env}
    found = sweeps.run(space, seeds=[3])
    assert '[null, "2", "lr is 0.5", "7", "3", "1"]' in sweeps.log(found.results[0])


def test_a_command_may_run_in_the_folder_of_its_trial(sweeps):
    sweeps.run({"command": "{python} {sweep_dir}/script.py --out=.", "cwd": "{output_dir}"})
    assert not (sweeps.folder / "ran.txt").exists()


def test_a_shell_where_one_is_asked_for(sweeps):
    script = "echo {lr} | sed s/^/lr=/ && " + "true && " * 1000 + "echo '{{\"accuracy\": 1}}'"
    space = {"command": f"sh -c {shlex.quote(script)}", "metrics": "stdout", "lr": 0.5}
    (result,) = sweeps.run(space).results
    assert result.failure is None
    assert "lr=0.5" in sweeps.log(result)


def test_cwd_begins_at_the_sweep_file(sweeps):
    sweeps.script(SCRIPT, "inner/train.py")
    sweeps.run({"command": "{python} train.py --out={output_dir}", "cwd": "inner"})
    assert (sweeps.folder / "inner" / "ran.txt").exists()


def test_output_is_kept_and_secrets_are_not(sweeps, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "sesame-open")
    code = (
        "import os, sys; print('hello'); print(os.environ['MY_TOKEN'], file=sys.stderr); "
        "sys.stdout.write('1%\\\\r50%\\\\r100%\\\\n')"
    )
    (result,) = sweeps.run({"command": inline(code)}).results
    log = sweeps.log(result)
    assert log.startswith("$ ")
    assert "hello\n" in log
    assert "\n100%\n" in log
    assert log.endswith("the command wrote no metrics.json into its folder; the folder is empty")
    assert "sesame" not in log
    assert "sesame" not in result.failure.message


# Identity


def test_a_changed_script_runs_again_and_an_unchanged_one_does_not(sweeps):
    space = {"command": WRITE, "lr": [1, 2]}
    sweeps.run(space)
    assert sweeps.run(space).num_reused == 2
    assert sweeps.run({**space, "lr": [1, 2, 3], "timeout_s": 9}).num_reused == 2
    sweeps.script(SCRIPT.replace("* 10", "* 20"))
    found = sweeps.run(space)
    assert found.num_reused == 0
    assert [r.metrics["validation/accuracy"] for r in found.results] == [20, 40]


@pytest.mark.parametrize(
    ("command", "files", "name"),
    [
        ("{python} script.py --out={output_dir} --data=data.csv", "", "data.csv"),
        ("{python} -m package.train --out={output_dir}", "", "package/train.py"),
        ("{python} script.py --out={output_dir}", "package/**/*.py data.csv", "package/util.py"),
        ("{python} -um package.train --out={output_dir}", "", "package/train.py"),
        ("{python} -mpackage.train --out={output_dir}", "", "package/train.py"),
        ("bash -ec 'cat data.csv|python package/train.py {output_dir}'", "", "package/train.py"),
        ("bash -ec 'cat data.csv|python package/train.py {output_dir}'", "", "data.csv"),
        ("env -i sh -c 'cd . && python -um package.train'", "", "package/train.py"),
    ],
)
def test_the_content_of_files_is_part_of_the_identity(sweeps, command, files, name):
    for path in ("package/train.py", "package/util.py", "data.csv"):
        sweeps.script(SCRIPT, path)
    space = {"command": command, "files": files}
    (before,) = plan(sweeps.file(space)).trials
    sweeps.script(SCRIPT, "package/unrelated.txt")
    assert plan(sweeps.file(space)).trials == (before,)
    sweeps.script(f"{SCRIPT}#", name)
    (after,) = plan(sweeps.file(space)).trials
    assert before.id != after.id


def test_what_a_shell_writes_is_no_part_of_the_identity(sweeps):
    space = {"command": "sh -c 'cd {sweep_dir}; {python} script.py --out={output_dir} >log.txt'"}
    assert sweeps.run(space).exit_code == 0
    assert sweeps.run(space).num_reused == 1
    code = inline("open('log.txt', 'a').write('x')")
    assert "log.txt has changed" not in sweeps.failure({"command": code}).message


def test_a_file_that_changes_while_the_sweep_runs_is_told(sweeps):
    code = "open('data.csv', 'a').write('x'); print('{{}}')"
    sweeps.script("", "data.csv")
    space = {"command": f"{inline(code)} data.csv {{n}}", "metrics": "stdout", "n": [1, 2]}
    _, second = sweeps.run(space).results
    assert second.failure.cause is Cause.INPUT
    assert "data.csv has changed since the sweep was planned" in second.failure.message


# Metrics


def test_json_lines_give_metrics_and_curve(sweeps):
    lines = [
        {"step": 1, "loss": 2, "note": "x"},
        {"step": 2, "loss": 1.5, "val_accuracy": 0.5, "epoch": 0.1},
        {"test": {"accuracy": 0.25}, "val_accuracy": 0.75},
    ]
    sweeps.script("\n".join(f"print({json.dumps(line)!r})" for line in lines), "lines.py")
    (result,) = sweeps.run({"command": "{python} lines.py", "metrics": "stdout"}).results
    assert result.metrics == {
        "validation/loss": 1.5,
        "validation/accuracy": 0.75,
        "test/accuracy": 0.25,
    }
    first, second = sweeps.stored().curve
    assert first == {"step": 1, "validation/loss": 2}
    assert second["validation/accuracy"] == 0.5


def test_metrics_of_an_mlflow_run(sweeps, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "somewhere-else")
    sweeps.script(
        "import mlflow\n"
        "with mlflow.start_run():\n"
        "    for step in range(3):\n"
        "        mlflow.log_metric('eval_accuracy', step / 2, step=step)\n"
        "    mlflow.log_metric('test_accuracy', 0.5)\n"
        "    mlflow.log_text('text', 'artifact.txt')\n",
        "tracked.py",
    )
    (result,) = sweeps.run({"command": "{python} tracked.py", "metrics": "mlflow"}).results
    assert result.failure is None
    assert result.metrics == {"validation/accuracy": 1.0, "test/accuracy": 0.5}
    assert [point["validation/accuracy"] for point in sweeps.stored().curve] == [0, 0.5, 1]
    assert {path.name for path in sweeps.folder.iterdir()} == {
        "script.py",
        "tracked.py",
        "sweep.yaml",
        "store",
    }


def test_infinity_in_an_mlflow_run_is_a_divergence(sweeps):
    sweeps.script("import mlflow; mlflow.log_metric('accuracy', float('-inf'))", "tracked.py")
    failure = sweeps.failure({"command": "{python} tracked.py", "metrics": "mlflow"})
    assert failure.cause is Cause.DIVERGED
    assert "metric 'accuracy' is -inf" in failure.message


def test_the_names_of_metrics():
    names = {
        "eval_f1": "validation/f1",
        "test/f1": "test/f1",
        "train_loss": "train/loss",
        "lr": "validation/lr",
        "system/cpu": "system/cpu",
        "predict_loss": "test/loss",
    }
    assert split_names(names) == names
    # As Keras has it: the plain one is of the training split.
    assert split_names(["loss", "val_loss"]) == {"loss": "loss", "val_loss": "validation/loss"}


def test_a_trial_without_the_ranking_metric_fails_and_keeps_its_result(sweeps):
    space = {"command": WRITE, "lr": 1}
    failure = sweeps.failure(space, metric={"name": "acuracy", "mode": "max"})
    assert failure.cause is Cause.INPUT
    assert "no metric 'validation/acuracy'; it gave: validation/accuracy" in failure.message
    found = sweeps.run(space)
    assert found.num_reused == 1
    assert found.exit_code == 0


# Failures


@pytest.mark.parametrize(
    ("code", "cause", "message"),
    [
        (
            "import sys; print('before'); sys.exit('no such file')",
            Cause.COMMAND,
            "python ended with exit code 1: no such",
        ),
        (
            "import os; os.kill(os.getpid(), 9)",
            Cause.COMMAND,
            "was ended by SIGKILL (out of memory?)",
        ),
        ("import os; os.kill(os.getpid(), 11)", Cause.COMMAND, "was ended by SIGSEGV"),
        ("print('done')", Cause.INPUT, "the command wrote no metrics.json into its folder"),
    ],
)
def test_a_failing_command(sweeps, code, cause, message):
    failure = sweeps.failure({"command": inline(code)})
    assert failure.cause is cause
    assert message in failure.message
    if "before" in code:
        assert "\nbefore" in failure.message


@pytest.mark.parametrize(
    ("content", "cause", "message"),
    [
        ("{", Cause.INPUT, "metrics.json is not a JSON object"),
        ("[1]", Cause.INPUT, "metrics.json is not a JSON object"),
        ('{"accuracy": "0.9"}', Cause.INPUT, "metrics.json holds no number"),
        ('{"accuracy": NaN}', Cause.DIVERGED, "metric 'accuracy' is nan"),
        (f'{{"accuracy": 1{"0" * 400}}}', Cause.INPUT, "metrics.json holds a number that is too"),
        ('{"a":' * 9000 + "1" + "}" * 9000, Cause.INPUT, "metrics.json is nested too deep"),
    ],
)
def test_unusable_metrics(sweeps, content, cause, message):
    sweeps.script(f"import sys; open(sys.argv[1], 'w').write({content!r})", "write.py")
    failure = sweeps.failure({"command": "{python} write.py {output_dir}/metrics.json"})
    assert (failure.cause, message in failure.message) == (cause, True)


def test_a_folder_in_place_of_the_metrics_file(sweeps):
    code = inline("import os, sys; os.mkdir(sys.argv[1])")
    failure = sweeps.failure({"command": f"{code} {{output_dir}}/metrics.json"})
    assert (failure.cause, failure.key) == (Cause.INPUT, "metrics")
    assert failure.message == "metrics.json is a folder, not a JSON file"


def test_a_metrics_file_may_begin_with_a_byte_order_mark(sweeps):
    sweeps.script(
        "import sys; open(sys.argv[1], 'w', encoding='utf-8-sig').write('{\"f1\": 1}')", "w.py"
    )
    space = {"command": "{python} w.py {output_dir}/metrics.json"}
    (result,) = sweeps.run(space, metric={"name": "f1", "mode": "max"}).results
    assert result.metrics == {"validation/f1": 1.0}


def test_lines_of_stdout_that_cannot_be_kept_cost_none_that_can(sweeps):
    lines = [
        '{"a":' * 9000 + "1" + "}" * 9000,
        f'{{"accuracy": 1{"0" * 400}}}',
        f'{{"accuracy": 0.25, "step": {10**30}}}',
        f'{{"accuracy": 0.75, "step": {2**63 - 1}}}',
    ]
    sweeps.script("\n".join(f"print({line!r})" for line in lines), "lines.py")
    (result,) = sweeps.run({"command": "{python} lines.py", "metrics": "stdout"}).results
    assert result.metrics == {"validation/accuracy": 0.75}
    assert [point["step"] for point in sweeps.stored().curve] == [2**63 - 1]


def test_stdout_without_a_metric(sweeps):
    failure = sweeps.failure({"command": inline("print('accuracy: 1')"), "metrics": "stdout"})
    assert "no line of stdout is a JSON object with a number" in failure.message


# Faults told before anything runs


@pytest.mark.parametrize(
    ("space", "fault"),
    [
        ({"command": WRITE, "lrs": 1}, "{lr} stands for nothing here"),
        ({"command": WRITE, "lr": 1, "lr2": 2}, "space.lr2: nothing uses 'lr2'"),
        ({"command": WRITE, "lr": 1, "timeout": 2}, "did you mean 'timeout_s'?"),
        ({"command": "ls {seed", "lr": 1}, "a brace that is meant as such is written twice"),
        ({"command": 'ls {"a": 1}'}, "a brace that is meant as such is written twice"),
        ({"command": ["ls", "-l"]}, "a list is an axis of whole commands"),
        ({"command": "ls 'x"}, "cannot be split into words"),
        ({"command": "ls", "files": "'x"}, "space.files: cannot be split into words"),
        ({"command": "ls", "env": {"A=B": 1}}, "space.env"),
        ({"command": "cat x | wc"}, "no shell runs the command"),
        ({"command": "no-such-program"}, "there is no program 'no-such-program' on the PATH"),
        ({"command": "./script.py"}, "is not executable"),
        ({"command": "./no.py"}, "there is no program"),
        ({"command": "ls", "cwd": "srcipts"}, "did you mean 'scripts'?"),
        ({"command": "ls", "metrics": "stdot"}, "did you mean 'stdout'?"),
        ({"command": "ls", "metrics": "/tmp/metrics.json"}, "must be in {output_dir}"),
        ({"command": "ls", "files": "*.cvs"}, "no file matches '*.cvs'"),
        ({"command": "ls", "timeout_s": 0}, "greater than 0"),
        ({"command": "ls {lr}", "lr": {"min": 1}}, "a text, a number, true, false or null"),
        ({"command": "ls {seed}", "seed": [1]}, "'seed' is given to every trial"),
        ({"lr": 1}, "'command' is required"),
    ],
)
def test_faults_of_the_space(sweeps, space, fault):
    (sweeps.folder / "scripts").mkdir()
    assert fault in sweeps.faults(space)


def test_metric_and_mode_are_required(sweeps):
    space = {"command": "ls"}
    assert "metric: required by this pipeline" in sweeps.faults(space, metric=None)
    assert "metric.mode: required" in sweeps.faults(space, metric={"name": "accuracy"})


@pytest.mark.parametrize("name", ["eval_f1/macro", "validation/f1/macro", "test_f1/macro"])
def test_a_metric_is_named_without_its_split(sweeps, name):
    fault = sweeps.faults({"command": "ls"}, metric={"name": name, "mode": "max"})
    assert f"metric.name: '{name}' names a split" in fault
    assert "(did you mean 'f1/macro'?)" in fault


@pytest.mark.parametrize("name", ["f1/macro", "evaluation", "system/cpu", "training_loss"])
def test_a_metric_may_look_like_a_split(sweeps, name):
    plan(sweeps.file({"command": "ls"}, metric={"name": name, "mode": "max"}))
