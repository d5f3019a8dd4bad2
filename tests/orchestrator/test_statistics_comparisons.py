"""Compares tests of pairs and families with scipy and statsmodels, budgets with brute force."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from orchestrator.comparing.statistics import (
    budget,
    families,
    intervals,
    pairs,
    studentized_range,
)

RNG = np.random.default_rng(4)
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=20)
SCORES = st.integers(2, 6).flatmap(
    lambda n: st.lists(
        st.lists(st.integers(0, 1000).map(lambda v: v / 1000), min_size=n, max_size=n),
        min_size=2,
        max_size=8,
    )
)


@pytest.mark.parametrize("num_seeds", [2, 5])
def test_few_seeds_are_compared_by_the_paired_t_test(num_seeds):
    a, b = RNG.normal(size=(2, num_seeds))
    expected = stats.ttest_rel(a, b).pvalue
    assert pairs.test_seeds(a, b) == pairs.PairTest("paired t", pytest.approx(expected))


@pytest.mark.parametrize("num_seeds", [10, 12])
def test_ten_seeds_are_compared_by_ranks(num_seeds):
    a, b = RNG.normal(size=(2, num_seeds))
    expected = stats.wilcoxon(a, b).pvalue
    assert pairs.test_seeds(a, b) == pairs.PairTest("wilcoxon", pytest.approx(expected))


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_differences_that_are_equal_by_chance_are_no_proof(num_seeds):
    """Accuracies on few rows are coarse: what two seeds differ by is often the same."""
    a = np.linspace(0.80, 0.85, num_seeds)
    assert pairs.test_seeds(a, a - 0.01).p == 2.0 ** (1 - num_seeds)


def test_pairs_without_a_difference_or_without_seeds():
    assert pairs.test_seeds([0.1], [0.2]) is None
    assert pairs.test_seeds([0.1] * 3, [0.1] * 3).p == 1
    assert pairs.test_seeds([0.1] * 8, [0.1] * 8).p == 1
    assert pairs.test_examples([[1.0, 0, 1]], [[1.0, 0, 1]]) == pairs.PairTest("mcnemar", 1.0)
    assert pairs.effect_size([0.3, 0.3], [0.1, 0.1]) is None
    with pytest.raises(ValueError, match="same seeds"):
        pairs.test_seeds([0.1, 0.2], [0.1, 0.2, 0.3])


def test_labels_of_one_seed_are_compared_by_mcnemar():
    a, b = RNG.integers(2, size=(2, 1, 60)) | np.array([[[1]] * 1, [[0]]])
    table = [[np.sum((a == i) & (b == j)) for j in (0, 1)] for i in (0, 1)]
    ours = pairs.test_examples(a, b)
    assert ours == pairs.PairTest("mcnemar", pytest.approx(mcnemar(table, exact=True).pvalue))


def test_scores_of_several_seeds_are_compared_by_the_bootstrap():
    differences = RNG.normal(0.1, 1, size=(3, 400))
    ours = pairs.test_examples(differences, np.zeros_like(differences))
    # With 400 examples the mean is normal, and so the t-test is a reference.
    assert ours.name == "paired bootstrap"
    assert ours.p == pytest.approx(stats.ttest_1samp(differences.mean(axis=0), 0).pvalue, abs=0.02)


def test_the_interval_of_a_difference_is_that_of_the_paired_differences():
    a, b = RNG.normal(size=(2, 4))
    assert pairs.difference_interval(a, b) == intervals.t_interval(a - b)
    a, b = RNG.normal(size=(2, 15))
    ours, expected = pairs.difference_interval(a, b), intervals.bca_interval(a - b)
    assert [ours.low, ours.high] == pytest.approx([expected.low, expected.high], abs=0.15)


def test_an_interval_with_examples_holds_what_seeds_and_what_examples_might_change():
    by_seed = np.array([[0.1], [0.2], [0.3]])
    by_example = RNG.normal(0, 1, size=(1, 200))
    zero = np.zeros((3, 200))

    def width(differences):
        interval = pairs.difference_interval(differences, np.zeros_like(differences))
        return interval.high - interval.low

    seeds, examples = width(zero + by_seed), width(zero + by_example)
    t = intervals.t_interval(by_seed.ravel())
    assert seeds == pytest.approx(t.high - t.low, rel=0.35)
    assert examples == pytest.approx(2 * 1.96 * by_example.std() / np.sqrt(200), rel=0.1)
    assert width(zero + by_seed + by_example) > max(seeds, examples)


def test_the_effect_size_is_the_mean_difference_in_standard_deviations():
    assert pairs.effect_size([0.4, 0.6], [0.1, 0.1]) == pytest.approx(
        0.4 / np.std([0.3, 0.5], ddof=1)
    )


@settings(deadline=None, max_examples=10)
@given(P_VALUES)
def test_holm_is_that_of_statsmodels(p_values):
    assert families.holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])


@given(P_VALUES)
def test_holm_keeps_the_order_of_evidence_and_never_lowers_a_p(p_values):
    adjusted = families.holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    by_p = [q for _, q in sorted(zip(p_values, adjusted, strict=True))]
    assert by_p == sorted(by_p)


def test_a_lead_found_among_more_configs_needs_more_evidence():
    assert families.at_equal_budget(0.01, 1, 40) == 0.01
    assert families.at_equal_budget(0.01, 8, 8) == 0.01
    assert families.at_equal_budget(0.01, 9, 8) == 0.02
    assert families.at_equal_budget(0.01, 400, 1) == 1


@pytest.mark.parametrize(
    ("num_means", "df"), [(2, 1), (2, 14), (8, 2), (8, 63), (40, 4), (80, 316)]
)
def test_the_studentized_range_is_that_of_scipy(num_means, df):
    q = np.array([1.0, 3.5, 6.0])
    expected = stats.studentized_range.sf(q, num_means, df)
    assert studentized_range.survival(q, num_means, df) == pytest.approx(expected, abs=2e-5)


def test_two_configs_are_compared_as_by_the_paired_t_test():
    scores = RNG.normal(size=(2, 7))
    p = families.tied_with_best(scores, "max")
    assert max(p) == 1
    assert min(p) == pytest.approx(stats.ttest_rel(*scores).pvalue, abs=1e-5)


def test_a_wild_config_that_is_worse_hides_nothing_among_the_others():
    seed = RNG.normal(0, 0.05, size=5)
    noise = RNG.normal(0, 0.002, size=(6, 5))
    scores = np.array([0.9, 0.9, 0.9, 0.8, 0.8, 0.0])[:, None] + seed + noise
    scores[5] += RNG.normal(0, 0.1, size=5)
    is_tied = np.array(families.tied_with_best(scores, "max")) > 0.05
    assert is_tied.tolist() == [True, True, True, False, False, False]
    is_tied = np.array(families.tied_with_best(-scores, "min")) > 0.05
    assert is_tied.tolist() == [True, True, True, False, False, False]


def test_one_config_or_equal_ones_are_tied_and_one_seed_is_refused():
    assert families.tied_with_best([[0.3, 0.4]], "max") == [1.0]
    assert families.tied_with_best([[0.1, 0.7]] * 3, "max") == [1.0] * 3
    assert families.tied_with_best([[0.9] * 3, [0.8] * 3], "max") == [1.0, 0.0]
    with pytest.raises(ValueError, match="two seeds"):
        families.tied_with_best([[0.3], [0.4]], "max")


@settings(deadline=None, max_examples=60)
@given(SCORES, st.randoms(use_true_random=False))
def test_ties_ignore_the_order_of_seeds_what_seeds_share_and_the_unit(scores, random):
    array = np.array(scores)
    expected = families.tied_with_best(array, "max")
    order = random.sample(range(array.shape[1]), array.shape[1])
    shared = np.array([random.uniform(-1, 1) for _ in order])
    assert expected[int(np.round(array.mean(axis=1), 12).argmax())] == 1
    moved = families.tied_with_best(3 * array[:, order] + shared, "max")
    assert moved == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("scores", [[0.3, 0.1, 0.2], [0.3, 0.3, 0.1, 0.2]])
def test_the_expected_best_is_that_of_all_draws(scores, mode):
    test = [10 * score + position for position, score in enumerate(scores)]
    points = budget.expected_best(scores, test, mode)
    pick = max if mode == "max" else min
    for num_configs, point in enumerate(points, start=1):
        draws = list(itertools.product(range(len(scores)), repeat=num_configs))
        best = [pick(scores[i] for i in draw) for draw in draws]
        equals = [
            np.mean([test[i] for i in range(len(scores)) if scores[i] == score]) for score in best
        ]
        assert point.num_configs == num_configs
        assert point.validation == pytest.approx(np.mean(best))
        assert point.test == pytest.approx(np.mean(equals))


def test_a_budget_curve_without_test_scores_and_without_configs():
    assert budget.expected_best([0.5], None, "max") == [budget.BudgetPoint(1, 0.5, None)]
    assert budget.expected_best([], None, "max") == []


def test_a_large_leaderboard_is_quick():
    scores = RNG.normal(size=(2, 400, 5))
    started = time.process_time()
    for values in scores.reshape(-1, 5):
        intervals.bca_interval(values)
    assert time.process_time() - started < 2
    families.tied_with_best(scores[0, :80], "max")
    many = scores[0, :80] + np.arange(80)[:, None]
    started = time.process_time()
    families.tied_with_best(many, "max")
    assert time.process_time() - started < 0.1
