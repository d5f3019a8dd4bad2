"""A sweep whose files have changed since it ran: what it gave is shown, and nothing else."""

import json

import pytest

from cluster.job import State
from orchestrator import report, run
from orchestrator.errors import ExportError, FanflareError
from orchestrator.running.diffing import diff_trials
from orchestrator.running.export import ExportOptions, export_trial
from orchestrator.running.syncing import sync
from orchestrator.running.tracking import default_tracking_uri
from orchestrator.running.verify import verify
from tests.cli import fanflare, sweep_file
from tests.mlflow_records import records_of
from tests.pipelines.tiny import save_bert, save_task

__all__ = ["fanflare"]  # the fixture

NOTE = "What sweep 'first' names has changed since its run of 2"


class Scripts:
    """Sweeps of one script, which gives one number."""

    def __init__(self, folder):
        self.folder = folder
        self.store = str(folder / "store")

    def write(self, number, name="script.py"):
        line = f"print('{{\"score\": {number}}}')\n"
        (self.folder / name).write_text(line)

    def file(self, name="first", **keys):
        content = {
            "name": name,
            "pipeline": "command",
            "metric": {"name": "score", "mode": "max"},
            "seeds": 2,
            "tracking": "off",
            "store": self.store,
            "space": {"command": "{python} {script}.py {seed}", "metrics": "stdout"},
        }
        content["space"]["script"] = keys.pop("script", "script")
        return sweep_file(self.folder, {**content, **keys}, f"{name}.yaml")

    def run(self, name="first", **keys):
        made = run(self.file(name, **keys), backend="inline")
        assert made.exit_code == 0
        return made

    def report(self, name):
        return report(name, store=self.store)


@pytest.fixture
def scripts(tmp_path):
    """The script gave 1 to the sweep `first`, and gives 2 now."""
    scripts = Scripts(tmp_path)
    scripts.write(1)
    scripts.run()
    scripts.write(2)
    return scripts


def scores(made):
    return [result.score("validation") for result in made.results]


def test_a_report_shows_what_the_sweep_gave(scripts):
    assert scores(scripts.report("first")) == [1, 1]
    second = scripts.run("second")
    assert (scores(second), second.provenance["changed_since"]) == ([2, 2], None)
    for given in ("first", scripts.folder / "first.yaml"):
        made = report(given, store=scripts.store)
        assert (scores(made), made.state, made.exit_code) == ([1, 1], State.FINISHED, 0)
        assert made.provenance["is_past"]
        assert made.provenance["changed_since"] >= made.provenance["started_at"]
    assert scores(scripts.report("second")) == [2, 2]
    ours, theirs = (scripts.report(name).results[0].trial.id for name in ("first", "second"))
    assert diff_trials(ours, theirs, store=scripts.store).metrics["validation/score"] == (1, 2)


def test_the_commands_say_so_and_keep_several_sweeps_apart(scripts, fanflare):
    scripts.run("second")
    for verb in ("report", "status"):
        ended = fanflare(verb, "first", "--store", scripts.store)
        assert (ended.code, ended.err.count(NOTE)) == (0, 1)
        assert "2 finished" in ended.out
        assert fanflare(verb, "second", "--store", scripts.store).err == ""
    both = fanflare("report", "first", "second", "--store", scripts.store, "--json")
    assert [(t["params.sweep"], t["validation/score"]) for t in both.json["trials"]] == [
        *[("first", 1)] * 2,
        *[("second", 2)] * 2,
    ]
    status = fanflare("status", "first", "--store", scripts.store, "--json").json
    assert (status["state"], status["is_past"]) == ("FINISHED", True)


def test_a_run_computes_it_for_the_files_of_now(scripts):
    assert scores(scripts.run()) == [2, 2]
    made = scripts.report("first")
    assert (scores(made), made.provenance["changed_since"]) == ([2, 2], None)
    scripts.write(1)  # as in the first run, which the store still has
    assert scores(scripts.report("first")) == [2, 2]
    again = scripts.run()
    assert (scores(again), again.num_reused) == ([1, 1], 2)


def test_mlflow_keeps_what_the_run_gave(tmp_path):
    scripts = Scripts(tmp_path)
    scripts.write(1)
    scripts.run(tracking={})
    scripts.write(2)
    uri = default_tracking_uri(tmp_path / "store/sweeps/first")
    before = records_of(uri, "first")
    assert sync("first", store=scripts.store).exit_code == 0
    assert records_of(uri, "first") == before
    other = default_tracking_uri(tmp_path / "other")
    assert sync("first", store=scripts.store, tracking_uri=other).num_trials == 2
    assert records_of(other, "first").keys() == before.keys()


def test_where_more_has_changed_it_is_said_and_nothing_is_called_finished(scripts, fanflare):
    scripts.file(seeds=3)
    ended = fanflare("status", scripts.folder / "first.yaml")
    assert "Sweep 'first' has other trials now than in its run of 2" in ended.err
    assert "is SCHEDULED: 3 scheduled" in ended.out
    uri = default_tracking_uri(scripts.folder)
    with pytest.raises(FanflareError, match="other trials now"):
        sync(scripts.folder / "first.yaml", tracking_uri=uri)
    assert scores(scripts.report("first")) == [1, 1]
    scripts.write(1)
    ended = fanflare("status", scripts.folder / "first.yaml")
    assert "is SCHEDULED: 2 finished, 1 scheduled" in ended.out


def test_one_of_several_scripts_may_have_changed(tmp_path):
    scripts = Scripts(tmp_path)
    for number, name in enumerate(("a", "b", "c")):
        scripts.write(number, f"{name}.py")
    scripts.run(script=["a", "b", "c"])
    scripts.write(7, "b.py")
    (tmp_path / "c.py").unlink()
    assert scores(scripts.report("first")) == [0, 0, 1, 1, 2, 2]


def test_a_store_of_an_earlier_version_knows_no_pins(scripts):
    copy = scripts.folder / "store/sweeps/first/sweep.json"
    content = json.loads(copy.read_text())
    del content["pins"]
    copy.write_text(json.dumps(content))
    made = scripts.report("first")
    assert (made.state, dict(made.counts)) == (State.SCHEDULED, {"SCHEDULED": 2})


def test_data_that_has_changed_can_be_reported_and_not_computed_with(tmp_path):
    sweep = {
        "name": "probes",
        "store": str(tmp_path / "store"),
        "tracking": "off",
        "models": {"name": "tiny-bert", "source": str(save_bert(tmp_path / "bert"))},
        "tasks": [
            {"name": name, "source": str(save_task(tmp_path / f"{name}.csv", rows))}
            for name, rows in (("same", 80), ("other", 90))
        ],
        "train_size": 32,
        "validation_size": 16,
        "test_size": 16,
        "space": {"method": "probe", "epochs": 1, "max_length": 8},
    }
    before = run(sweep, backend="inline")
    assert before.exit_code == 0
    data = tmp_path / "other.csv"
    data.write_text("\n".join(data.read_text().splitlines()[:-7]) + "\n")
    after = report("probes", store=sweep["store"])
    for name in ("trials", "leaderboard", "contrasts"):
        assert after.to_json()[name] == before.to_json()[name]
    assert after.provenance["tasks"] == before.provenance["tasks"]
    assert after.provenance["is_past"]
    same, other = (r.trial.id for r in after.results)
    with pytest.raises(ExportError, match="rests on other as it was when it ran"):
        export_trial(other, tmp_path / "folder", ExportOptions(store=sweep["store"]))
    assert export_trial(same, tmp_path / "folder", ExportOptions(store=sweep["store"])).num_bytes
    with pytest.raises(FanflareError, match="other has changed since it ran"):
        verify(sweep)
