"""What a report says of differences: ties, real differences, choice, failures, several sweeps."""

import json
import random

import pytest

from cluster.job import State
from orchestrator.comparing.contrasts import MAX_PAIRS
from orchestrator.comparing.report import Report, join
from orchestrator.errors import FanflareError
from tests.reports import grid, result, right_or_wrong, seeds


def report(results, **options):
    return Report("toy", State.FINISHED, results, **options)


def row_of(made, task="t", **params):
    rows = made.leaderboard.tasks[task]
    return next(
        row for row in rows if params.items() <= {**row.params, "method": row.method}.items()
    )


def test_what_differs_by_noise_is_tied_and_what_differs_by_more_is_not():
    made = report([*seeds(0.80, rate=1), *seeds(0.801, rate=2), *seeds(0.70, rate=3)])
    assert {row.params["rate"]: row.is_tied for row in made.leaderboard.tasks["t"]} == {
        1: True,
        2: True,
        3: False,
    }
    assert row_of(made, rate=3).p_best < 0.05 < min(row_of(made, rate=r).p_best for r in (1, 2))


def test_ties_are_read_on_the_validation_split_alone():
    worse = seeds(0.70, test=0.99, rate=2)
    rows = report([*seeds(0.80, test=0.5, rate=1), *worse]).leaderboard.tasks["t"]
    assert [(row.params["rate"], row.is_tied) for row in rows] == [(1, True), (2, False)]


def test_who_is_best_by_seeds_that_others_lack_leaves_open_who_is_tied():
    """Over the two seeds that all have, another one is the best."""
    many = [result(score, seed=s, rate=1) for s, score in enumerate((0.70, 0.70, 0.9, 0.9, 0.9))]
    few = [result(0.70 + r / 1e3, seed=s, rate=r) for r in (2, 3, 4) for s in (0, 1)]
    rows = report([*many, *few]).leaderboard.tasks["t"]
    assert [row.is_tied for row in rows] == [None] * 4


def test_one_seed_leaves_open_who_is_tied():
    made = report([result(0.8, rate=1), result(0.7, rate=2)])
    assert [row.is_tied for row in made.leaderboard.tasks["t"]] == [None, None]


def test_a_config_that_lacks_a_seed_is_not_tested_and_hides_no_other():
    broken = [*seeds(0.75, num=2, rate=3), result(0, seed=2, rate=3, state=State.FAILED)]
    made = report([*seeds(0.80, num=3, rate=1), *seeds(0.60, num=3, rate=2), *broken])
    assert row_of(made, rate=3).is_tied is None
    assert row_of(made, rate=2).is_tied is False
    assert (row_of(made, rate=3).num_trials, row_of(made, rate=3).num_failed) == (3, 1)


def test_validation_chooses_and_the_best_seen_stands_beside_it():
    made = report([*seeds(0.8, test=0.6, rate=1), *seeds(0.7, test=0.9, rate=2)])
    (chosen,) = made.to_json()["chosen"]
    assert chosen["params"] == {"rate": 1}
    assert chosen["test"]["mean"] == pytest.approx(0.6, abs=0.02)
    assert chosen["best_seen"]["params"] == {"rate": 2}
    assert chosen["best_seen"]["mean"] == pytest.approx(0.9, abs=0.02)
    assert chosen["num_configs"] == 2


def test_a_real_difference_survives_other_seeds_and_other_examples():
    results = [*seeds(0.9, method="full"), *seeds(0.7, method="probe")]
    (pair,) = report(results, read_examples=right_or_wrong(1000)).contrasts.pairs
    assert pair.is_real
    assert pair.difference == pytest.approx(0.2, abs=0.02)
    assert pair.num_examples == 1000
    assert pair.ci.low < pair.difference < pair.ci.high


def test_a_difference_that_few_examples_bear_is_not_real_however_alike_the_seeds():
    results = [*seeds(0.71, spread=1e-4, method="full"), *seeds(0.7, spread=1e-4, method="probe")]
    assert report(results).contrasts.pairs[0].is_real
    (pair,) = report(results, read_examples=right_or_wrong(20)).contrasts.pairs
    assert pair.p_seeds.p < 0.05 < pair.p_examples.p
    assert not pair.is_real


def test_one_seed_never_shows_a_real_difference():
    results = [result(0.9, method="full"), result(0.5, method="probe")]
    (pair,) = report(results, read_examples=right_or_wrong(1000)).contrasts.pairs
    assert pair.p_examples.name == "mcnemar"
    assert pair.p_examples.p < 0.001
    assert not pair.is_real


def test_many_pairs_without_a_difference_give_none_that_is_real():
    results = [r for n in range(8) for r in seeds(0.8, method=f"m{n}")]
    pairs = report(results).contrasts.pairs
    assert len(pairs) == 28
    assert min(pair.p for pair in pairs) < 0.2, "some look different by themselves"
    assert not any(pair.is_real for pair in pairs)


def test_pairs_beyond_the_limit_are_counted_and_those_that_rank_first_are_kept():
    results = [r for n in range(30) for r in seeds(0.5 + n / 100, num=2, method=f"m{n:02}")]
    made = report(results).contrasts
    assert len(made.pairs) <= MAX_PAIRS
    assert len(made.pairs) + made.num_left_out == 30 * 29 // 2
    kept = {row.method for pair in made.pairs for row in (pair.a, pair.b)}
    assert {"m29", "m28"} <= kept
    assert "m00" not in kept


def test_ranks_and_wins_need_no_common_scale_but_means_do():
    made = report(
        [
            *seeds(0.9, task="a", method="full"),
            *seeds(0.7, task="a", method="probe"),
            *seeds(1.0, task="b", method="full", mode="min"),
            *seeds(2.0, task="b", method="probe", mode="min"),
        ]
    )
    first, second = made.leaderboard.overall
    assert (first.method, first.mean_rank, first.win_rate) == ("full", 1.0, 1.0)
    assert (second.method, second.mean_rank, second.win_rate) == ("probe", 2.0, 0.0)
    assert first.scores == {"validation": None, "test": None}
    assert [(row.name, row.mean, row.win_rate) for row in made.methods] == [
        ("full", None, 1.0),
        ("probe", None, 0.0),
    ]


def test_a_loss_over_tasks_has_a_mean_and_the_least_comes_first():
    tasks = [r for t in "ab" for x in (1, 2) for r in seeds(x, task=t, rate=x, mode="min")]
    first, _ = report(tasks).leaderboard.overall
    assert first.params == {"rate": 1}
    assert first.scores["validation"] == pytest.approx(1, abs=0.02)


def test_methods_are_compared_where_both_were_tried():
    results = [*seeds(0.8, model="m", method="full"), *seeds(0.7, model="m", method="probe")]
    results += seeds(0.95, model="n", method="probe")
    full, probe = sorted(report(results).methods, key=lambda row: row.name)
    assert (full.mean_rank, probe.mean_rank) == (1.0, 2.0)
    assert (full.is_complete, probe.is_complete) == (False, True)


def test_failures_are_grouped_by_cause_and_none_is_lost():
    results = [result(0, seed=n, state=State.FAILED, message="nan\nat step 3") for n in range(7)]
    results += [result(0, seed=7, state=State.KILLED), result(0, seed=8, state=State.SCHEDULED)]
    made = report(results)
    (bug, stopped) = made.to_json()["failures"]
    assert (bug["cause"], bug["message"], bug["num_trials"]) == ("bug", "nan", 7)
    assert len(bug["trials"]) == 5
    assert (stopped["cause"], stopped["num_trials"]) == ("stopped", 1)
    assert made.to_json()["counts"] == {"FAILED": 7, "KILLED": 1, "SCHEDULED": 1}
    (row,) = made.leaderboard.tasks["t"]
    assert (row.num_trials, row.num_failed) == (9, 9)


def test_data_size_and_budget_curves():
    made = report(grid()).to_json()
    curves = {curve["label"]: curve["points"] for curve in made["sizes"]["a"]}
    assert [point["train_size"] for point in curves["m probe"]] == [50, 100]
    low, high = (point["mean"] for point in curves["n full"])
    assert low < high
    assert [point["num_configs"] for point in made["budget"]["a"]["probe"]] == list(range(1, 9))


def test_the_same_results_give_the_same_report():
    results = grid()
    shuffled = list(results)
    random.Random(0).shuffle(shuffled)
    first, again, other = (
        report(given, read_examples=right_or_wrong(300)).to_json()
        for given in (results, results, shuffled)
    )
    assert json.dumps(first) == json.dumps(again)
    assert other["leaderboard"]["tasks"]["a"] == first["leaderboard"]["tasks"]["a"]


# Several sweeps


def test_a_trial_that_two_sweeps_have_is_one_trial():
    both, more = seeds(0.8, rate=1), seeds(0.7, rate=2)
    made = join({"A": report(both), "B": report([*both, *more])})
    assert len(made.results) == 10
    assert [row.params for row in made.leaderboard.tasks["t"]] == [{"rate": 1}, {"rate": 2}]


def test_the_same_config_of_two_sweeps_is_told_apart_and_paired_by_seeds():
    ours, theirs = seeds(0.8, rate=1), seeds(0.9, rate=1, content="other-")
    made = join({"A": report(ours), "B": report(theirs)})
    assert [row.params["sweep"] for row in made.leaderboard.tasks["t"]] == ["B", "A"]
    (pair,) = made.contrasts.pairs
    assert pair.num_seeds == 5
    assert pair.is_real
    assert "sweep=B" in pair.to_json()["a"]["label"]


def test_sweeps_that_rank_by_different_metrics_are_refused():
    sweeps = {"A": report(seeds(0.8)), "B": report(seeds(0.8, mode="min"))}
    with pytest.raises(FanflareError, match=r"different metrics.*'A' by accuracy.*'B' by loss"):
        join(sweeps)


def test_a_lead_that_was_chosen_among_more_configs_counts_for_less():
    tried = [r for n in range(20) for r in seeds(0.8 - n / 100, method="full", rate=n)]
    rival = seeds(0.78, method="probe")
    (pair,) = report([*tried, *rival]).contrasts.pairs
    assert pair.a.method == "full"
    assert pair.p_budget == pytest.approx(min(1, 20 * pair.p_seeds.p))
    (fair,) = report([*seeds(0.8, method="full"), *rival]).contrasts.pairs
    assert fair.p_budget == fair.p_seeds.p


def test_small_scores_and_values_that_are_nearly_the_same_can_be_told_apart():
    small = [result(x * 1e-4, seed=s, rate=r, mode="min") for s in (0, 1)
             for x, r in ((2 + s, 0.1), (4 + s, 0.10000000001))]  # fmt: skip
    text = report(small).to_markdown()
    assert "0.000250 ± 0.000071" in text
    assert "rate=0.10000000001 | 0.000450 ± 0.000071" in text


def test_a_table_for_a_paper_says_which_configs_it_could_not_test():
    alone = result(0.9, method="full")
    text = report([alone, *seeds(0.80, method="probe"), *seeds(0.801, method="lora")]).to_latex()
    assert "share one seed only are not compared" in text
