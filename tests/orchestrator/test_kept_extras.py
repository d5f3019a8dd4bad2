"""What is kept beside a result: no part of its identity, computed again only where it lacks."""

from dataclasses import dataclass, replace

import pytest

from orchestrator import plan, report, run
from orchestrator.running.status import sweep_status
from orchestrator.running.workspace import open_sweep
from pipelines.contract import Node
from pipelines.labels import extras_of
from pipelines.pipeline import TrialSettings
from tests.toy import EVALUATE, PREPARE, WORK, Data, ToyPipeline


@dataclass(frozen=True)
class KeepingPipeline(ToyPipeline):
    """Trials of group 1 have a trial of group 0 as an input, and want an extra of it."""

    name: str = "keeping"

    def graph(self, trial: TrialSettings) -> Node:
        params = trial.params.model_dump(mode="json")
        shared = {"tag": params["tag"], "group": 0}
        prepared = Node(stage=PREPARE, params=shared, sources={"data": Data()})
        fault = {name: params.pop(name) for name in ("fail", "fail_times")}
        own = {**params, "group": 0, "anything": None, "seed": trial.seed}
        first = Node(stage=WORK, params=own, inputs={"prepared": prepared})
        if params["group"] == 0:
            return Node(stage=EVALUATE, params={"tag": params["tag"]}, inputs={"worked": first})
        teacher = replace(first, keep=frozenset({params["anything"] or "scores"}))
        second = Node(
            stage=WORK,
            params={**params, **fault, "seed": trial.seed},
            inputs={"prepared": prepared, "teacher": teacher},
        )
        return Node(stage=EVALUATE, params={"tag": params["tag"]}, inputs={"worked": second})


KEEPING = KeepingPipeline()


def sweep_of(toy, *groups, **params):
    space = [{"value": [1, 2], "group": group, **(params if group else {})} for group in groups]
    return {**toy.sweep(space), "pipeline": "tests.orchestrator.test_kept_extras:KEEPING"}


def kept(sweep):
    """Return the extras of the stages that group 0 trains, and their values, by digest."""
    workspace = open_sweep(sweep)
    digests = [d for d, n in workspace.nodes.items() if n.stage == WORK and not n.params["group"]]
    records = workspace.store.find(digests)
    return {digest: (extras_of(r.value), r.value["score"]) for digest, r in records.items()}


def test_an_extra_is_no_part_of_the_identity():
    node = Node(stage=WORK, params={"value": 1})
    assert replace(node, keep=frozenset({"scores"})).digest == node.digest


@pytest.mark.parametrize("groups", [(0, 1), (1, 0)])
def test_trials_that_want_an_extra_and_trials_that_do_not_share_one_computation(toy, groups):
    made = run(sweep_of(toy, *groups), backend="inline")
    assert made.counts == {"FINISHED": 4}
    assert toy.num_executed("work") == 4  # two of each group
    assert [extras for extras, _ in kept(sweep_of(toy, *groups)).values()] == [{"scores"}] * 2


def test_a_finished_stage_is_computed_again_for_an_extra_and_nothing_else_is(toy, backend):
    run(sweep_of(toy, 0), backend="inline")
    before = kept(sweep_of(toy, 0))
    assert [extras for extras, _ in before.values()] == [frozenset()] * 2
    made = run(sweep_of(toy, 0, 1), backend=backend)
    assert made.counts == {"FINISHED": 4}
    assert made.num_reused == 2
    counts = {name: toy.num_executed(name) for name in ("prepare", "work", "evaluate")}
    assert counts == {"prepare": 1, "work": 2 + 2 + 2, "evaluate": 4}
    after = kept(sweep_of(toy, 0))
    assert {d: score for d, (_, score) in after.items()} == {d: s for d, (_, s) in before.items()}
    assert [extras for extras, _ in after.values()] == [{"scores"}] * 2
    run(sweep_of(toy, 0, 1), backend="inline")
    run(sweep_of(toy, 0), backend="inline")
    assert toy.num_executed("work") == 6  # all is there now, for those who want less as well


def test_extras_add_up(toy):
    run(sweep_of(toy, 1, anything="scores"), backend="inline")
    run(sweep_of(toy, 1, anything="weights"), backend="inline")
    assert [extras for extras, _ in kept(sweep_of(toy, 0)).values()] == [{"scores", "weights"}] * 2


def test_a_finished_trial_whose_stage_lacks_an_extra_is_finished(toy):
    run(sweep_of(toy, 0), backend="inline")
    grown = sweep_of(toy, 0, 1)
    made = plan(grown)
    assert [made.is_known(trial) for trial in made.trials] == [True, True, False, False]
    assert report(grown).counts == {"FINISHED": 2, "SCHEDULED": 2}
    assert sweep_status(open_sweep(grown)).counts == {"FINISHED": 2, "SCHEDULED": 2}
    assert all(result.curve for result in report(grown).results[:2])


def test_a_stage_that_fails_when_computed_again_takes_down_only_those_who_want_the_extra(
    toy, monkeypatch
):
    run(sweep_of(toy, 0), backend="inline")
    monkeypatch.setattr("tests.toy.note", broken_in_work)
    made = run(sweep_of(toy, 0, 1), backend="inline")
    assert made.counts == {"FINISHED": 2, "FAILED": 2}
    assert report(sweep_of(toy, 0, 1)).counts == {"FINISHED": 2, "FAILED": 2}
    messages = {result.failure.message for result in made.results if result.failure}
    assert messages == {"ValueError: broken"}


def broken_in_work(stage, params):
    if stage == "work":
        raise ValueError("broken")


def test_a_curve_is_that_of_the_last_stage_that_has_one(toy):
    made = run(sweep_of(toy, 1), backend="inline")
    assert [len(result.curve) for result in report(sweep_of(toy, 1)).results] == [1, 1]
    assert made.counts == {"FINISHED": 2}
