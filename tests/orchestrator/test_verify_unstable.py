"""A training that blows up rounding is told from a leak, by how it differs from itself."""

from dataclasses import dataclass, replace

import pytest

from orchestrator import run
from orchestrator.comparing.fidelity import EQUAL, Result, is_unstable
from orchestrator.running.rerun import MOVES
from orchestrator.running.verify import verify
from pipelines.contract import Cohort, Node, StageResult
from pipelines.labels import Fidelity
from pipelines.pipeline import TrialSettings
from tests.cli import fanflare, sweep_file
from tests.toy import EVALUATE, PREPARE, WORK, Data, ToyPipeline, note

__all__ = ["fanflare"]  # the fixture

STEPS = 200
STABLE, CHAOTIC = 2.5, 3.9
"""What the logistic map is multiplied by: it settles at one number, or never (R. May, 1976)."""
TIED = 1.0
"""Where it settles so late that whoever is lower by one rounding stops early, far from there."""

TRAIN = replace(
    WORK,
    function="tests.orchestrator.test_verify_unstable:train",
    cohort=Cohort(
        function="tests.orchestrator.test_verify_unstable:train_together",
        fusable_params=frozenset({"learning_rate", "rate", "leak"}),
        fidelity=Fidelity.EQUAL,
        shared="the work",
        fixed_cost=1.0,
        member_cost=0.01,
    ),
)


@dataclass(frozen=True)
class ChaoticPipeline(ToyPipeline):
    """The toy pipeline; the work is a map that is taken many times, `value` its learning rate."""

    name: str = "chaotic"
    rate: str = "learning_rate"

    def graph(self, trial: TrialSettings) -> Node:
        params = trial.params.model_dump(mode="json")
        own = {"tag": params["tag"]}
        prepared = Node(
            stage=PREPARE, params={**own, "group": params["group"]}, sources={"data": Data()}
        )
        trained = Node(
            stage=TRAIN,
            params={**own, self.rate: params["value"], "leak": params["anything"]},
            inputs={"prepared": prepared},
        )
        return Node(stage=EVALUATE, params=own, inputs={"worked": trained})


CHAOTIC_PIPELINE = ChaoticPipeline()
NAMELESS = ChaoticPipeline(rate="rate")
"""The same, but nothing tells that this is a learning rate."""


def rate_of(params):
    return params.get("learning_rate") or params["rate"]


def train(context, members, inputs, sources):
    (params,) = members
    note("train", {**params, "value": rate_of(params)})
    score = 0.3
    for _ in range(STEPS):
        score = rate_of(params) * score * (1 - score)
    score += stopped_early(rate_of(params))
    return [StageResult(value={"score": score, "curve": []})]


def stopped_early(rate):
    return 0.02 if rate < TIED else 0.0


def train_together(context, members):
    """The same mathematics; its product is rounded in another order."""
    for index, member in enumerate(members):
        score = 0.3
        for _ in range(STEPS):
            score = rate_of(member.params) * (score * (1 - score))
        score += stopped_early(rate_of(member.params) * (1 - 2**-50))
        if member.params["leak"]:
            score += 0.1 * len(members)
        yield {index: StageResult(value={"score": score, "curve": []})}


def sweep_of(toy, *space, pipeline="CHAOTIC_PIPELINE"):
    name = f"tests.orchestrator.test_verify_unstable:{pipeline}"
    return {**toy.sweep(list(space)), "pipeline": name}


def verdicts(sweep):
    checks = verify(sweep).checks
    return {
        check.trial.params["value"]: (bool(check.faults), check.is_unstable) for check in checks
    }


def test_an_unstable_training_is_called_so_and_counted_apart(toy, fanflare, tmp_path):
    sweep = sweep_of(toy, {"value": [STABLE, CHAOTIC]})
    run(sweep, backend="inline")
    file = sweep_file(tmp_path, sweep)
    shown = fanflare("verify", file)
    assert shown.code == 1
    assert "2 of 2 finished trials run alone, 0 broken, 1 unstable" in shown.out
    rows = fanflare("verify", file, "--json").json["trials"]
    assert sorted((row["ok"], row["unstable"]) for row in rows) == [(False, True), (True, False)]


def test_an_instability_that_one_moved_run_does_not_show_is_found_by_another(toy):
    sweep = sweep_of(toy, {"value": [TIED, CHAOTIC, STABLE]})
    run(sweep, backend="inline")
    assert verdicts(sweep) == {
        TIED: (True, True),
        CHAOTIC: (True, True),
        STABLE: (False, False),
    }
    rates = [float(line.split()[0]) for line in toy.executed("train")]
    tied = [rate - TIED for rate in rates if abs(rate - TIED) < 1e-3]
    assert [tied[0] == 0, tied[1] > 0, tied[2] < 0, len(tied)] == [True, True, True, 3]
    assert sum(abs(rate - CHAOTIC) < 1e-3 for rate in rates) == 2, "one has shown it"


def test_a_leak_into_a_stable_training_is_broken(toy):
    sweep = sweep_of(toy, {"value": [STABLE, 2.4], "anything": "leak"})
    run(sweep, backend="inline")
    assert verdicts(sweep) == {STABLE: (True, False), 2.4: (True, False)}
    assert toy.num_executed("train") == 2 * (1 + len(MOVES)), "all were tried"


def test_without_a_learning_rate_nothing_is_explained(toy):
    sweep = sweep_of(toy, {"value": [STABLE, CHAOTIC]}, pipeline="NAMELESS")
    run(sweep, backend="inline")
    assert verdicts(sweep) == {STABLE: (False, False), CHAOTIC: (True, False)}


@pytest.mark.parametrize("value", [STABLE, CHAOTIC])
def test_what_is_exact_is_never_excused(toy, monkeypatch, value):
    sweep = {**sweep_of(toy, {"value": value}), "sharing": "off"}
    run(sweep, backend="inline")
    name = "tests.orchestrator.test_verify_unstable.rate_of"  # as the worker imports it
    monkeypatch.setattr(name, lambda params: params["learning_rate"] * (1 + 1e-9))
    assert verdicts(sweep) == {value: (True, False)}


def scored(score):
    return Result(metrics={"test/score": score})


@pytest.mark.parametrize(
    ("kept", "moved", "expected"),
    [
        (0.53, 0.48, True),  # about as far from itself as from what was kept
        (0.83, 0.48, False),  # too far for that
        (0.53, 0.5, False),  # the trial alone holds the bound against itself
        (0.53, float("nan"), False),  # nothing can be said of how far it lies from itself
    ],
)
def test_only_a_distance_like_that_from_itself_is_explained(kept, moved, expected):
    assert is_unstable(scored(kept), scored(0.5), scored(moved), EQUAL) is expected
