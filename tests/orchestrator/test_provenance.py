"""What a report says of where its results come from, and what it never says."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from cluster.machine import machine_facts
from orchestrator import report, run
from tests.cli import sweep_file

SECRET = "hunter2-and-more"


@pytest.fixture
def path(toy, tmp_path):
    """A toy sweep in a file, with a comment."""
    text = json.dumps(toy.sweep({"value": [1, 2]}), indent=1)
    return sweep_file(tmp_path, f"# the first try\n{text}\n")


def test_the_file_the_versions_and_the_machine_are_told(path):
    told = run(path, backend="inline").to_json()["provenance"]
    assert told["sweep_file"] == path.read_text()
    assert told["versions"]["torch"] == version("torch")
    assert {"python", "fanflare", "ray", "transformers", "mlflow"} <= told["versions"].keys()
    facts = machine_facts()
    assert facts["cpu"]
    assert {name: told["machine"][name] for name in facts} == facts
    assert told["started_at"] < told["ended_at"]
    assert told["num_runs"] == 1


def test_a_report_on_another_machine_tells_of_the_one_that_ran(path, toy):
    run(path, backend="inline")
    (journal,) = Path(toy.store, "sweeps/toy/journal").iterdir()
    cpu = machine_facts()["cpu"]
    journal.write_text(journal.read_text().replace(cpu, "a processor of long ago"))
    assert report(path).provenance["machine"]["cpu"] == "a processor of long ago"


def test_no_secret_of_the_sweep_file_is_told(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", SECRET)
    content = toy.sweep({"value": 1, "anything": f"token {SECRET}"})
    path = sweep_file(tmp_path, f"# postgresql://me:pass-word@host/db\n{json.dumps(content)}\n")
    made = run(path, backend="inline")
    for found in (made, report(path)):
        told = json.dumps(found.provenance)
        assert "postgresql://me:***@host" in told
        assert SECRET not in told
        assert "pass-word" not in told
    in_python = run({**content, "name": "other"}, backend="inline").provenance["sweep_file"]
    assert json.loads(in_python)["name"] == "other"
    assert SECRET not in in_python
