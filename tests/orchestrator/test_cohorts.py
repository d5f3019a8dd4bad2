"""Stages that are computed together: which, in how many calls, and that nobody sees it."""

import importlib
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.job import Resources
from cluster.store import Store
from orchestrator import run
from orchestrator.planning.cohorts import plan_cohorts, together
from orchestrator.planning.cost import Timings, cohort_keys, cost_keys, kinds_of
from orchestrator.planning.packing import pack, split, without
from orchestrator.planning.plan import planned_stage
from orchestrator.running.journal import read_journal
from orchestrator.running.workspace import open_sweep
from pipelines.contract import Node, Stage
from tests.cli import fanflare, sweep_file
from tests.toy import Data
from tests.toy_cohorts import COHORT, sweep_of

__all__ = ["fanflare"]  # the fixture

quick = settings(max_examples=150, deadline=None)
ONE = Resources(num_cpus=1)


def calls(toy):
    """Return the sizes of the cohorts that were computed, oldest first."""
    return [int(line.split()[0]) for line in toy.executed("together")]


def facts(made):
    """Return what a report says of each trial, without durations and labels."""
    return {
        (r.trial.params["group"], r.trial.params["value"], r.trial.seed): (
            r.state,
            r.metrics,
            r.curve,
        )
        for r in made.results
    }


# What is computed together


def test_members_are_computed_in_one_call_and_lone_ones_are_not(toy, backend):
    space = [{"value": [1, 2, 3], "group": 0}, {"value": 1, "group": 5}]
    made = run(sweep_of(toy, space, seeds=1), backend=backend)
    assert made.counts == {"FINISHED": 4}
    assert calls(toy) == [3]
    labels = {(r.trial.params["group"], str(r.fidelity)) for r in made.results}
    assert labels == {(0, "equal"), (5, "exact")}


def test_without_sharing_each_is_computed_alone_with_equal_results(toy, backend, tmp_path):
    space = {"value": [1, 2, 3], "group": [0, 7]}
    shared = run(sweep_of(toy, space, seeds=2), backend=backend)
    assert calls(toy) == [6, 6]
    other = replace(toy, store=tmp_path / "alone", tag=toy.tag + "x")
    alone = run(sweep_of(other, space, seeds=2, sharing="off"), backend=backend)
    assert calls(other) == []
    assert other.num_executed("work") == toy.num_executed("work") == 12
    assert facts(shared) == facts(alone)
    assert {str(r.fidelity) for r in shared.results} == {"equal"}
    assert {str(r.fidelity) for r in alone.results} == {"exact"}


def test_what_was_computed_alone_is_known_to_a_sweep_that_shares_and_the_other_way_round(toy):
    run(sweep_of(toy, {"value": [1, 2]}, seeds=1, sharing="off"), backend="inline")
    made = run(sweep_of(toy, {"value": [1, 2, 3, 4]}, seeds=1), backend="inline")
    assert (made.num_reused, calls(toy)) == (2, [2])
    again = run(sweep_of(toy, {"value": [1, 2, 3, 4]}, seeds=1, sharing="off"), backend="inline")
    assert again.num_reused == 4
    labels = {r.trial.params["value"]: str(r.fidelity) for r in again.results}
    assert labels == {1: "exact", 2: "exact", 3: "equal", 4: "equal"}


def test_members_may_differ_in_inputs_that_rest_on_the_same_data(toy, backend):
    made = run(
        sweep_of(toy, {"value": [1, 2], "group": [0, 10]}, "FUSING", seeds=1), backend=backend
    )
    assert made.counts == {"FINISHED": 4}
    assert calls(toy) == [4]
    assert {k: v[1]["test/score"] for k, v in facts(made).items()} == {
        (g, v, 0): g + v + 1 for g in (0, 10) for v in (1, 2)
    }


def test_extras_are_kept_of_those_members_of_whom_they_are_wanted(toy):
    sweep = sweep_of(toy, {"value": [1, 2]}, "KEEPING", seeds=2)
    run(sweep, backend="inline")
    workspace = open_sweep(sweep)
    worked = {d: n for d, n in workspace.nodes.items() if n.stage.name == "toy/work"}
    records = workspace.store.find(worked)
    assert {
        (worked[d].params["value"], tuple(r.value.get("kept", ()))) for d, r in records.items()
    } == {
        (1, ("scores",)),
        (2, ()),
    }
    # A member that lacks the extra is computed again, alone; the others are left in peace.
    before = toy.num_executed("work")
    other = sweep_of(toy, {"value": [1, 2]}, seeds=2)
    assert run(other, backend="inline").num_reused == 4
    assert toy.num_executed("work") == before


def test_the_journal_of_a_shared_sweep_is_that_of_a_lone_one_but_for_the_jobs(toy, tmp_path):
    other = replace(toy, store=tmp_path / "alone")
    space = {"value": [1, 2, 3]}
    run(sweep_of(toy, space, seeds=1), backend="inline")
    run(sweep_of(other, space, seeds=1, sharing="off"), backend="inline")

    def ended(store):
        events = list(read_journal(Store(str(store)), "toy"))
        return Counter((e.kind, e.attempt, e.stages) for e in events if e.kind == "stage_finished")

    assert ended(toy.store) == ended(other.store)
    assert sum(ended(toy.store).values()) == 1 + 3 + 3


def test_progress_counts_members_as_stages(toy):
    class Watcher:
        def changed(self, progress):
            self.progress = progress

        def message(self, text):
            pass

    watcher = Watcher()
    run(sweep_of(toy, {"value": [1, 2, 3]}, seeds=1), backend="inline", observer=watcher)
    assert watcher.progress.stages_done == {"toy/prepare": 1, "toy/work": 3, "toy/evaluate": 3}
    assert watcher.progress.share_done == pytest.approx(1)
    assert not +watcher.progress.stages_running


# The pure parts


@st.composite
def graphs(draw):
    """Return random nodes by digest, inputs first; a stage may have a cohort or not."""
    size = draw(st.integers(1, 14))
    made: list[Node] = []
    for index in range(size):
        inputs = draw(st.sets(st.integers(0, index - 1), max_size=2)) if index else set()
        fuses = draw(st.booleans())
        cohort = replace(COHORT, fusable_inputs=frozenset({"a", "b"}) if fuses else frozenset())
        stage = Stage(
            name=draw(st.sampled_from(["x", "y"])),
            version=1,
            function="m:f",
            typical_s=draw(st.sampled_from([0.01, 1.0, 50.0])),
            cohort=cohort if draw(st.integers(0, 3)) else None,
        )
        made.append(
            Node(
                stage=stage,
                params={"seed": index, "kind": draw(st.integers(0, 1))},
                sources={"data": Data()},
                inputs=dict(zip("ab", (made[i] for i in sorted(inputs)), strict=False)),
            )
        )
    return {node.digest: node for node in made}


def packed(nodes, timings, num_slots):
    kinds = kinds_of(nodes)
    keys = {digest: cost_keys(node, kinds[digest]) for digest, node in nodes.items()}
    stages = {d: planned_stage(node, 1, keys[d], timings) for d, node in nodes.items()}
    cohorts = plan_cohorts(list(stages.values()), nodes, timings)
    stages = together(stages, cohorts)
    return stages, cohorts, pack(list(stages.values()), cohorts, resources=ONE, num_slots=num_slots)


@quick
@given(nodes=graphs(), num_slots=st.integers(1, 4))
def test_each_stage_is_in_one_job_and_no_two_jobs_wait_for_each_other(nodes, num_slots):
    stages, _, jobs = packed(nodes, Timings(), num_slots)
    assert sorted(d for job in jobs for d in job.stages) == sorted(stages)
    finished, waiting = set(), list(jobs)
    while waiting:
        ready = [job for job in waiting if job.needs <= finished]
        assert ready, "jobs wait for each other"
        for job in ready:
            done = set(job.needs)
            for digest in job.stages:
                assert set(stages[digest].inputs.values()) <= done
                done.add(digest)
            finished.update(job.stages)
            waiting.remove(job)


@quick
@given(nodes=graphs(), num_slots=st.integers(1, 4), limit=st.integers(1, 3))
def test_no_job_mixes_cohorts_or_exceeds_what_fits_into_memory(nodes, num_slots, limit):
    timings = Timings()
    kinds = kinds_of(nodes)
    for digest, node in nodes.items():
        timings.observe_limit(cost_keys(node, kinds[digest]), limit)
    stages, cohorts, jobs = packed(nodes, timings, num_slots)
    for cohort in cohorts:
        assert len({nodes[digest].cohort_digest for digest in cohort.stages}) == 1
        assert limit > 1
    for job in jobs:
        members = [stages[digest].cohort for digest in job.stages if stages[digest].cohort]
        assert len(set(members)) <= 1
        assert len(members) <= limit


@quick
@given(nodes=graphs(), choice=st.randoms(use_true_random=False))
def test_a_failed_input_takes_those_that_need_it_and_no_other(nodes, choice):
    stages, _, jobs = packed(nodes, Timings(), 1)
    for job in jobs:
        for failed in sorted(job.needs):
            lost, rest = without(job, failed, stages)
            left = [digest for other in rest for digest in other.stages]
            assert sorted([*lost, *left]) == sorted(job.stages)
            assert all(failed not in stages[digest].inputs.values() for digest in left)
            assert all(failed not in other.needs for other in rest)
        again = {d: stages[d] for d in job.stages if choice.random() < 0.5}
        assert sorted(d for part in split(job, again) for d in part.stages) == sorted(again)


def test_the_cost_of_a_cohort_of_another_size_follows_from_what_the_stage_declares():
    nodes = {
        node.digest: node
        for node in (
            Node(
                stage=Stage(name="x", version=1, function="m:f", typical_s=1, cohort=COHORT),
                params={"seed": n},
            )
            for n in range(8)
        )
    }
    timings = Timings()
    digest, node = next(iter(nodes.items()))
    keys = cost_keys(node, kinds_of(nodes)[digest])
    timings.observe(cohort_keys(keys, 2), 5.5)  # ten times (1.0 / 2 + 0.05)
    _, (cohort,), _ = packed(nodes, timings, 1)
    assert cohort.together_s == pytest.approx(10 * (1.0 + 8 * 0.05))
    assert cohort.alone_s == pytest.approx(10 * 8)
    timings.observe(keys, 1.0)  # a lone one was faster than the cohort has proved to be
    assert packed(nodes, timings, 1)[1] == ()


# What people see


def shown(fanflare, toy, tmp_path, space, **keys):
    path = sweep_file(tmp_path, sweep_of(toy, space, **keys))
    return fanflare("plan", path).out, fanflare("plan", path, "--json").json


def test_the_command_plan_shows_each_group_and_what_it_saves(fanflare, toy, tmp_path):
    space = {"value": [1, 2, 3], "group": [0, 1]}
    out, content = shown(fanflare, toy, tmp_path, space, seeds=2)
    assert "work shares one look at the toys" in out
    assert [line.split() for line in out.splitlines() if "work  " in line[:11]] == [
        ["toy/work", "12", "12", "0", "12"],
        ["work", "6", "1", "5", "runs"],
        ["work", "6", "1", "5", "runs"],
    ]
    assert max(map(len, out.splitlines())) <= 80
    assert [(c["num_trials"], c["num_saved"], len(c["jobs"])) for c in content["cohorts"]] == [
        (6, 5, 1)
    ] * 2
    in_jobs = {job["id"]: set(job["stages"]) for job in content["jobs"]}
    for cohort in content["cohorts"]:
        assert set(cohort["stages"]) <= set().union(*(in_jobs[job] for job in cohort["jobs"]))
        assert cohort["together_s"] < cohort["alone_s"]


def test_the_plan_shows_time_saved_and_the_limit_of_memory_once_they_are_known(
    fanflare, toy, tmp_path
):
    space = {"value": [1, 2, 3, 4], "anything": 3}
    run(sweep_of(toy, space, seeds=1), backend="inline")
    out, content = shown(fanflare, toy, tmp_path, space, seeds=3)
    assert "work: 2 fit into memory at once" in out
    assert "s\n" in next(line + "\n" for line in out.splitlines() if " runs, " in line)
    (cohort,) = content["cohorts"]
    assert cohort["max_members"] == 2
    assert cohort["is_recorded"]
    assert len(cohort["jobs"]) == 4


def test_the_plan_says_that_sharing_is_off(fanflare, toy, tmp_path):
    out, content = shown(fanflare, toy, tmp_path, {"value": [1, 2]}, sharing="off")
    assert "sharing: off" in out
    assert (content["sharing"], content["cohorts"]) == ("off", [])


def test_mlflow_shows_a_shared_sweep_as_a_lone_one_but_for_the_label(toy, tmp_path):
    seen = []
    for sharing in ("on", "off"):
        uri = f"sqlite:///{tmp_path}/{sharing}.db"
        other = replace(toy, store=tmp_path / sharing)
        sweep = sweep_of(other, {"value": [1, 2]}, seeds=2, sharing=sharing, tracking={"uri": uri})
        run(sweep, backend="inline")
        client = importlib.import_module("mlflow").MlflowClient(uri)
        (experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
        runs = client.search_runs([experiment.experiment_id], "tags.`fanflare.kind` = 'trial'")
        seen.append(
            {
                r.data.tags["fanflare.trial_id"]: (
                    r.data.params,
                    {
                        name: value
                        for name, value in r.data.metrics.items()
                        if not name.startswith(("duration_s", "system/"))
                    },
                    r.data.tags["fanflare.fidelity"],
                )
                for r in runs
            }
        )
    shared, alone = seen
    assert len(shared) == 4
    assert {name: facts[:2] for name, facts in shared.items()} == {
        name: facts[:2] for name, facts in alone.items()
    }
    assert {facts[2] for facts in shared.values()} == {"equal"}
    assert {facts[2] for facts in alone.values()} == {"exact"}
