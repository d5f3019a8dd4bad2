"""How configs are ranked: by the mean over seeds on the validation split, failures in sight."""

import math

import pytest

from cluster.job import Cause, Failure, State
from orchestrator.comparing.leaderboard import leaderboard
from orchestrator.comparing.report import Report
from orchestrator.planning.trial import Trial, TrialResult


def result(value, seed, score, *, task="", mode="max", test=None, state=State.FINISHED):
    params = {"value": value, "fixed": 1}
    identity = f"{task}-{value}-{seed}"
    trial = Trial(
        id=identity, model="m", task=task, params=params, seed=seed, metric="score", mode=mode,
        result_digest=identity, stages=(identity,),
    )  # fmt: skip
    metrics = {} if score is None else {"validation/score": score, "test/score": test or score}
    failure = None if state is State.FINISHED else Failure(Cause.BUG, "broke")
    return TrialResult(trial=trial, state=state, metrics=metrics, failure=failure)


def ranking(results, task=""):
    return [row.params["value"] for row in leaderboard(results).tasks[task]]


def test_the_validation_split_ranks_and_not_the_test_split():
    results = [result(1, 0, 0.9, test=0.1), result(2, 0, 0.5, test=0.8)]
    assert ranking(results) == [1, 2]


@pytest.mark.parametrize(("mode", "order"), [("max", [3, 2, 1]), ("min", [1, 2, 3])])
def test_more_or_less_is_better_as_the_metric_says(mode, order):
    assert ranking([result(v, s, v + s, mode=mode) for v in (2, 1, 3) for s in (0, 1)]) == order


def test_mean_deviation_and_n_are_over_seeds():
    (row,) = leaderboard([result(1, s, x) for s, x in enumerate([1.0, 2.0, 6.0])]).tasks[""]
    summary = row.scores["validation"]
    assert (summary.n, summary.mean) == (3, 3.0)
    assert summary.std == pytest.approx(math.sqrt(7))
    assert row.params == {}, "nothing varies"


def test_one_seed_has_no_deviation():
    (row,) = leaderboard([result(1, 0, 0.5)]).tasks[""]
    assert row.scores["validation"].std is None


def test_failed_seeds_are_counted_and_leave_the_mean_of_the_others():
    results = [
        result(1, 0, 0.9),
        result(1, 1, None, state=State.FAILED),
        result(2, 0, None, state=State.KILLED),
    ]
    best, worst = leaderboard(results).tasks[""]
    assert (best.params["value"], best.num_failed, best.scores["validation"].n) == (1, 1, 1)
    assert (worst.num_failed, worst.scores["validation"].mean) == (1, None)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_what_is_not_a_number_or_not_there_comes_last(mode):
    results = [
        result(1, 0, math.nan, mode=mode),
        result(2, 0, 0.1, mode=mode),
        result(3, 0, None, mode=mode),
        result(4, 0, 0.1, mode=mode),
    ]
    assert set(ranking(results)[:2]) == {2, 4}


def test_the_overall_rank_is_the_mean_over_tasks_and_complete_configs_come_first():
    scores = {("a", 1): 0.6, ("b", 1): 0.6, ("a", 2): 0.5, ("b", 2): 0.9, ("a", 3): 1.0}
    rows = leaderboard([result(v, 0, x, task=t) for (t, v), x in scores.items()]).overall
    assert [(row.params["value"], row.is_complete) for row in rows] == [
        (2, True),
        (1, True),
        (3, False),
    ]
    assert rows[0].scores["validation"] == pytest.approx(0.7)
    assert [row.rank for row in rows] == [1, 2, 3]


def test_configs_with_other_tasks_in_part_have_no_rank_over_all():
    scores = {("a", 1): 0.9, ("b", 1): 0.5, ("b", 2): 0.6, ("c", 2): 0.1}
    rows = leaderboard([result(v, 0, x, task=t) for (t, v), x in scores.items()]).overall
    assert [(row.is_complete, row.mean_rank, row.win_rate) for row in rows] == [
        (False, None, None)
    ] * 2


def test_a_report_of_nothing_finished_can_be_shown():
    report = Report("toy", State.FAILED, [result(1, 0, None, state=State.FAILED)])
    assert report.exit_code == 1
    assert "1 failed" in report.to_markdown()
    assert report.to_csv().count("\n") == 2
    assert report.to_pandas()["message"].tolist() == ["broke"]
    assert report.to_json()["counts"] == {"FAILED": 1}


def test_exit_codes():
    done, broken = result(1, 0, 0.5), result(2, 0, None, state=State.FAILED)
    assert Report("toy", State.FINISHED, [done]).exit_code == 0
    assert Report("toy", State.FAILED, [done, broken]).exit_code == 1
    assert Report("toy", State.KILLED, [done]).exit_code == 130


def test_params_of_mixed_types_make_a_table():
    results = [result(value, 0, 0.5) for value in (1, "auto", None, [1, 2])]
    assert Report("toy", State.FINISHED, results).table().num_rows == 4
