"""Learning curves over seeds, and the importance of hyperparameters."""

import itertools
import math
import random

import pytest

from cluster.job import State
from orchestrator.comparing.curves import curves
from orchestrator.comparing.effects import INTERACTIONS, effects, importances
from orchestrator.comparing.statistics.intervals import t_interval
from orchestrator.planning.trial import Trial, TrialResult


def result(params, seed=0, score=0.5, curve=(), model="m"):
    identity = f"{model}{params}{seed}"
    trial = Trial(
        id=identity, model=model, task="t", params=params, seed=seed, metric="score", mode="max",
        result_digest=identity, stages=(identity,),
    )  # fmt: skip
    metrics = {} if score is None else {"validation/score": score}
    return TrialResult(trial=trial, state=State.FINISHED, metrics=metrics, curve=curve)


def test_a_curve_is_the_mean_over_seeds_with_the_interval_of_student():
    losses = [0.5, 0.6, 0.9]
    made = [result({}, s, curve=[{"step": 1, "loss": x}]) for s, x in enumerate(losses)]
    (found,) = curves(made).values()
    (point,) = found["loss"]
    expected = t_interval(losses)
    assert (point["step"], point["n"]) == (1, 3)
    assert point["mean"] == pytest.approx(2 / 3)
    assert (point["low"], point["high"]) == pytest.approx((expected.low, expected.high))


def test_seeds_that_stopped_early_leave_the_later_steps_to_the_others():
    long = [{"step": s, "loss": 1.0} for s in (2, 1, 3)]
    made = [result({}, 0, curve=long), result({}, 1, curve=[{"step": 1, "loss": 3.0}])]
    (found,) = curves(made).values()
    assert [(p["step"], p["mean"], p["n"]) for p in found["loss"]] == [
        (1, 2.0, 2),
        (2, 1.0, 1),
        (3, 1.0, 1),
    ]
    assert found["loss"][1]["low"] is None


def test_epochs_are_no_metric_and_what_is_not_finite_is_left_out():
    made = [result({}, 0, curve=[{"step": 1, "epoch": 1, "a": math.nan}, {"step": 2, "b": 1.0}])]
    (found,) = curves(made).values()
    assert list(found) == ["b"]
    assert curves([result({"x": 1})]) == {}


GRID = [dict(zip("abc", v, strict=True)) for v in itertools.product([0, 1], [0, 1, 2], ["x", "y"])]


def test_on_a_complete_grid_the_shares_are_those_of_the_marginal_means():
    # 3a has variance 9/4, b has variance 2/3, c does nothing: together all there is.
    shares = importances(GRID, [3 * p["a"] + p["b"] for p in GRID])
    total = 9 / 4 + 2 / 3
    assert shares == pytest.approx(
        {"a": 9 / 4 / total, "b": 2 / 3 / total, "c": 0, INTERACTIONS: 0}
    )


def test_what_only_two_params_together_explain_is_an_interaction():
    shares = importances(GRID, [float((p["a"] == 1) != (p["c"] == "x")) for p in GRID])
    assert shares[INTERACTIONS] == pytest.approx(1)


def test_a_grid_with_gaps_is_filled_by_a_forest_the_same_each_time():
    chance = random.Random(0)
    points = [p | {"d": d} for p in GRID for d in range(4) if chance.random() < 0.8]
    scores = [3 * p["a"] + p["b"] for p in points]
    shares = importances(points, scores)
    assert shares == importances(points, scores)
    assert sum(shares.values()) == pytest.approx(1)
    assert sorted(shares, key=shares.get, reverse=True)[:2] == ["a", "b"]
    assert shares["a"] == pytest.approx(9 / 4 / (9 / 4 + 2 / 3), abs=0.1)


def test_many_values_and_params_are_drawn_and_still_sum_to_one():
    chance = random.Random(0)
    points = [{n: chance.random() for n in "abcdef"} for _ in range(100)]
    shares = importances(points, [p["a"] ** 2 for p in points])
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=shares.get) == "a"


@pytest.mark.parametrize(
    ("points", "scores"),
    [
        ([], []),
        ([{"a": 1}], [0.5]),
        (GRID, [0.5] * len(GRID)),
        (GRID[:5], [0.1, 0.2, 0.3, 0.4, 0.5]),
    ],
    ids=["nothing", "one config", "one score", "too few of a grid"],
)
def test_nothing_is_said_where_there_is_nothing_to_go_by(points, scores):
    assert importances(points, scores) == {}


def test_effects_are_by_task_and_method_over_seeds_and_the_largest_come_first():
    made = [
        result({"method": m, "a": a, "b": b}, seed, a + 0.1 * b + (0.5 if seed else -0.5))
        for m in ("probe", "full")
        for a, b, seed in itertools.product([0, 1], [0, 1], [0, 1])
    ]
    found = effects([*made, result({"method": "probe", "a": 9, "b": 9}, score=None)])
    assert list(found["t"]) == ["probe", "full"]
    assert [share["param"] for share in found["t"]["probe"]] == ["a", "b", INTERACTIONS]
    assert sum(share["importance"] for share in found["t"]["probe"]) == pytest.approx(1)


def test_models_are_a_param_where_several_were_tried():
    made = [
        result({"a": a}, score=a + 10 * (model == "n"), model=model)
        for a, model in itertools.product([0, 1], "mn")
    ]
    assert effects(made)["t"][""][0]["param"] == "model"
