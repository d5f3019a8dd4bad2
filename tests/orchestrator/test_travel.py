"""What a sweep takes along: all that it needs, and the same trials wherever it is unpacked."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.bundle import Bundle
from cluster.profile import Profile
from cluster.store import Store
from orchestrator import run
from orchestrator.errors import InvalidProfileError, SubmissionError
from orchestrator.planning.sweep_file import SweepFile
from orchestrator.running.saved_sweep import keep_bundle, save_sweep, saved_id
from orchestrator.running.workspace import open_sweep
from orchestrator.submitting.profile_file import read_profile
from orchestrator.submitting.pulling import pull
from orchestrator.submitting.submission import prepare
from tests.cli import ROOT
from tests.pipelines.tiny import save_bert

RAY = {"target": {"ray": "http://127.0.0.1:8265"}}


@pytest.fixture
def own(tmp_path):
    """A folder with a sweep over the user's own table."""
    folder = tmp_path / "own"
    (folder / "data").mkdir(parents=True)
    rows = [{"text": f"text {n}", "label": n % 2} for n in range(40)]
    (folder / "data/rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (folder / "data/other.txt").write_text("not named by the sweep")

    def write(**keys):
        sweep = {
            "name": "own",
            "models": "all-MiniLM-L6-v2",
            "tasks": {
                "name": "rows",
                "source": "data/rows.jsonl",
                "kind": "classification",
                "text": "text",
                "label": "label",
            },
            "seeds": 2,
            "space": {"method": "probe", "learning_rate": [0.01, 0.1]},
        }
        path = folder / "own.yaml"
        path.write_text(json.dumps({**sweep, **keys}))
        return path

    return write


@pytest.fixture
def sent(tmp_path):
    """Return what a Ray cluster would be sent."""
    storage = {"uri": (tmp_path / "results").as_uri()}
    return lambda sweep: prepare(sweep, Profile.model_validate({**RAY, "storage": storage}))


def test_data_below_the_sweep_file_travels_with_it_and_gives_the_same_trials(sent, own, tmp_path):
    path = own()
    bundle = sent(path).submission.bundle
    assert "sweep/data/rows.jsonl" in bundle.files
    assert "sweep/data/other.txt" not in bundle.files
    assert "orchestrator/cli/drive.py" in bundle.files
    bundle.unpack(tmp_path / "there")
    there = open_sweep(tmp_path / "there/sweep/own.yaml", str(tmp_path / "store"))
    assert [trial.id for trial in there.trials] == [trial.id for trial in open_sweep(path).trials]


def test_the_same_sweep_is_the_same_bundle(sent, own):
    path = own()
    assert sent(path).submission.bundle.digest == sent(path).submission.bundle.digest
    other = sent(own(seeds=3)).submission.bundle.digest
    assert other != sent(own(seeds=2)).submission.bundle.digest


def test_data_elsewhere_is_refused_with_what_to_do(sent, own, tmp_path):
    (tmp_path / "far.jsonl").write_text('{"text": "a", "label": 0}\n{"text": "b", "label": 1}\n')
    task = {"name": "far", "kind": "classification", "text": "text", "label": "label"}
    path = own(tasks={**task, "source": "../far.jsonl"})
    with pytest.raises(SubmissionError, match="move it there"):
        sent(path)


def test_an_absolute_path_is_refused_since_no_pod_has_it(sent, own, tmp_path):
    own()
    task = {"name": "rows", "kind": "classification", "text": "text", "label": "label"}
    path = own(tasks={**task, "source": str(tmp_path / "own/data/rows.jsonl")})
    with pytest.raises(SubmissionError, match="relative to the sweep file"):
        sent(path)


def test_the_code_of_an_own_pipeline_travels(sent, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("from tests.toy import TOY\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps({"name": "mine", "pipeline": "mine:TOY", "space": {"value": [1]}}))
    files = sent(path).submission.bundle.files
    assert files["mine.py"] == b"from tests.toy import TOY\n"


def test_all_own_code_that_a_pipeline_imports_travels(sent, tmp_path, monkeypatch):
    folder = tmp_path / "code"
    code = {
        "ownpipe.py": "import json, ownhelp\nfrom tests.toy import TOY\n",
        "ownhelp.py": "def late():\n    from ownpack.inner import VALUE\n    return VALUE\n",
        "ownpack/__init__.py": "",
        "ownpack/inner.py": "import numpy\nVALUE = 1\n",
        "ownpack/words.txt": "a b c",
        "ownpack/.env": "TOKEN=hidden",
        "unrelated.py": "",
    }
    for name, text in code.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(folder)
    path = folder / "own.yaml"
    path.write_text(json.dumps({"name": "o", "pipeline": "ownpipe:TOY", "space": {"value": [1]}}))
    bundle = sent(path).submission.bundle
    files = bundle.files
    assert code.keys() & files.keys() == code.keys() - {"ownpack/.env", "unrelated.py"}
    assert not any(name.startswith("numpy/") for name in files)
    bundle.unpack(tmp_path / "there")
    program = "import ownpipe; print(ownpipe.ownhelp.late())"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path / "there", capture_output=True, check=True
    )
    assert done.stdout == b"1\n"


def test_the_code_of_stages_travels_though_no_plan_imports_it(sent, tmp_path, monkeypatch):
    (tmp_path / "ownlate.py").write_text(
        "from dataclasses import dataclass, replace\n"
        "from tests.toy import ToyPipeline\n"
        "class Late(ToyPipeline):\n"
        "    def graph(self, trial):\n"
        "        node = super().graph(trial)\n"
        "        return replace(node, stage=replace(node.stage, function='ownstage:work'))\n"
        "LATE = Late()\n"
    )
    (tmp_path / "ownstage.py").write_text("raise RuntimeError('needs an accelerator')\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "own.yaml"
    path.write_text(json.dumps({"name": "o", "pipeline": "ownlate:LATE", "space": {"value": [1]}}))
    assert "ownstage.py" in sent(path).submission.bundle.files


def test_hidden_files_of_a_local_model_stay_here(sent, own):
    model = own().parent / "mine"
    save_bert(model, width=8, layers=1)
    (model / ".git").mkdir()
    (model / ".git/config").write_text("url = https://hidden@example.org")
    (model / ".env").write_text("TOKEN=hidden")
    files = sent(own(models="./mine")).submission.bundle.files
    assert "sweep/mine/config.json" in files
    assert not [name for name in files if name.startswith("sweep/mine/.")]


@pytest.mark.parametrize(
    ("pattern", "hidden"),
    [("*", []), ("./**/*", []), ("* .env", [".env"]), ("* .config/*", [".config/a.json"])],
)
def test_hidden_files_beside_a_script_travel_only_where_they_are_named(
    sent, tmp_path, pattern, hidden
):
    for name in ("train.py", ".env", ".git/config", ".config/a.json", ".config/.key"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("print('{}')\n")
    space = {"command": "{python} train.py", "metrics": "stdout", "files": pattern}
    metric = {"name": "loss", "mode": "min"}
    path = tmp_path / "own.yaml"
    path.write_text(
        json.dumps({"name": "own", "pipeline": "command", "metric": metric, "space": space})
    )
    files = sent(path).submission.bundle.files
    assert "sweep/train.py" in files
    found = [name.removeprefix("sweep/") for name in files if name.startswith("sweep/.")]
    assert found == hidden


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tracking", {"uri": "http://bob:hunter2@mlflow.example"}),
        ("store", "s3://bob:hunter2@bucket/results"),
    ],
)
def test_a_password_in_the_sweep_file_is_not_sent_whatever_the_profile_says(
    own, tmp_path, key, value
):
    storage = {"uri": (tmp_path / "results").as_uri()}
    profile = Profile.model_validate({**RAY, "storage": storage, "tracking_uri": "http://mlflow"})
    with pytest.raises(SubmissionError, match="holds a password") as raised:
        prepare(own(**{key: value}), profile)
    assert "hunter2" not in str(raised.value)


def test_a_sweep_without_a_file_cannot_be_sent(sent, toy):
    with pytest.raises(SubmissionError, match="stands in a file"):
        sent(toy.sweep({"value": [1]}))


def test_a_profile_tells_all_its_faults_with_line_and_nearest_name(tmp_path):
    path = tmp_path / "prod.yaml"
    path.write_text("target: kubernetis\nworkers:\n  gpu:\n    num_gpu: 1\n    num_cpus: 4\n")
    with pytest.raises(Exception, match="has 4 faults") as raised:
        read_profile(str(path))
    told = str(raised.value)
    assert "line 1: target" in told
    assert "did you mean 'kubernetes'?" in told
    assert "line 4: workers.gpu.num_gpu: unknown key" in told
    assert "did you mean 'num_gpus'?" in told
    assert "workers.gpu.memory_gib: key 'memory_gib' is required" in told


@pytest.fixture
def on_s3(toy, s3_location, tmp_path):
    """A sweep whose results are on S3, run from a bundle as on a cluster."""
    root = tmp_path / "there"
    Bundle(files={"sweep/toy.yaml": json.dumps(toy.sweep({"value": [1, 2]})).encode()}).unpack(root)
    bundle = Bundle(files={"sweep/toy.yaml": (root / "sweep/toy.yaml").read_bytes()})
    keep_bundle(Store(s3_location), bundle)
    (root / "bundle.sha256").write_text(bundle.digest)
    report = run(root / "sweep/toy.yaml", store=s3_location, backend="inline", tracking_uri="off")
    return s3_location, report


def test_any_machine_opens_it_by_name_and_pulls_results_and_report(on_s3, tmp_path, monkeypatch):
    location, report = on_s3
    monkeypatch.setenv("FANFLARE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "there/sweep/toy.yaml").unlink()  # another machine does not have it
    workspace = open_sweep("toy", location)
    pulled = pull(workspace, tmp_path / "here")
    assert pulled.num_copied == pulled.num_results > 0
    assert Path(pulled.report).read_text().startswith("<!doctype html>")
    again = pull(open_sweep("toy", location), tmp_path / "here")
    assert (again.num_copied, again.num_results) == (0, pulled.num_results)
    here = open_sweep("toy", str(tmp_path / "here"))
    assert {trial.id for trial in here.trials} == {result.trial.id for result in report.results}
    assert not here.plan().jobs


def test_pulling_keeps_the_id_by_which_mlflow_knows_the_sweep_here(toy, tmp_path):
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    for store in (here, there):
        run(toy.sweep({"value": [1]}), store=store, backend="inline", tracking_uri="off")
    own_id = saved_id(Store(here), "toy")
    assert own_id != saved_id(Store(there), "toy")
    pull(open_sweep("toy", there), Path(here))
    assert saved_id(Store(here), "toy") == own_id
    pull(open_sweep("toy", there), tmp_path / "new")
    assert saved_id(Store(str(tmp_path / "new")), "toy") == saved_id(Store(there), "toy")


def test_pulling_onto_itself_is_refused(toy, tmp_path):
    run(toy.sweep({"value": [1]}), backend="inline", tracking_uri="off")
    with pytest.raises(SubmissionError, match="already"):
        pull(open_sweep("toy", str(tmp_path / "store")), tmp_path / "store")


def test_a_driver_refuses_another_sweep_than_was_sent(sent, toy, tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_text(json.dumps(toy.sweep({"value": [1]})))
    there = tmp_path / "there"
    sent(path).submission.bundle.unpack(there)
    (there / "sweep/toy.yaml").write_text(json.dumps(toy.sweep({"value": [1, 2, 3]})))
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli.drive"],
        cwd=there,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(there), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 3
    assert "gives other trials here" in done.stderr


def test_a_profile_without_what_a_target_needs_tells_all_of_it(tmp_path):
    path = tmp_path / "prod.yaml"
    path.write_text("target: kubernetes\n")
    with pytest.raises(InvalidProfileError, match="also required: storage, image, workers"):
        read_profile(str(path))
    path.write_text("target: ray\n")
    with pytest.raises(InvalidProfileError, match=r"as `ray: http://head:8265`; given: 'ray'"):
        read_profile(str(path))


def test_a_profile_with_a_password_is_refused_without_showing_it(tmp_path):
    path = tmp_path / "prod.yaml"
    path.write_text("tracking_uri: postgresql+psycopg2://h/db?user=a&password=hunter2\n")
    with pytest.raises(InvalidProfileError, match="a password does not belong") as raised:
        read_profile(str(path))
    assert "hunter2" not in str(raised.value)


def test_a_store_out_of_reach_is_the_profiles_fault(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(json.dumps({"name": "a", "pipeline": "tests.toy:TOY", "space": {"value": [1]}}))
    storage = {"uri": "s3://bucket/x?endpoint_override=127.0.0.1:1&scheme=http"}
    profile = Profile.model_validate({**RAY, "storage": storage})
    with pytest.raises(SubmissionError, match=r"storage\.uri of the profile"):
        prepare(path, profile)


def test_saving_a_sweep_of_a_bundle_names_the_bundle(tmp_path):
    root = tmp_path / "there"
    Bundle(files={"sweep/a.yaml": b"name: a\n"}).unpack(root)
    (root / "bundle.sha256").write_text("d" * 64)
    store = Store(str(tmp_path / "store"))
    save_sweep(store, "a", SweepFile.read(root / "sweep/a.yaml"))
    copy = json.loads(store.read_bytes("sweeps/a/sweep.json"))
    assert copy["bundle"] == "d" * 64
    assert copy["path"] == "sweep/a.yaml"
