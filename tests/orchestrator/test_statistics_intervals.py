"""Compares intervals over seeds, examples and tasks with scipy and rliable."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rliable import metrics
from scipy import special, stats

from orchestrator.comparing.statistics import across_tasks, intervals

NORMAL = np.random.default_rng(1).normal(0.8, 0.02, size=12)
SEEDS = st.lists(st.integers(-1000, 1000).map(lambda n: n / 100), min_size=3, max_size=12)


def bounds(interval):
    return [interval.low, interval.high]


def test_the_t_interval_is_that_of_scipy():
    expected = stats.ttest_1samp(NORMAL, 0).confidence_interval(0.95)
    assert bounds(intervals.t_interval(NORMAL)) == pytest.approx([expected.low, expected.high])


def test_too_few_seeds_have_no_interval():
    assert intervals.t_interval([0.5]) is None
    assert intervals.bca_interval([0.5, 0.6]) is None
    assert intervals.t_interval([0.5, float("nan")]) is None
    assert bounds(intervals.bca_interval([0.1, 0.1, 0.1])) == pytest.approx([0.1, 0.1])


@pytest.mark.parametrize("values", [NORMAL, np.exp(40 * NORMAL), np.arange(7.0) ** 3])
def test_the_bootstrap_is_the_bca_of_scipy_at_the_level_for_so_few_values(values):
    level = 1 - 2 * special.ndtr(-intervals.normal_reach(len(values), 0.95))
    expected = stats.bootstrap(
        (values,), np.mean, confidence_level=level, n_resamples=100_000, rng=0, batch=1000
    ).confidence_interval
    ours = intervals.bca_interval(values, num_resamples=100_000)
    width = expected.high - expected.low
    assert bounds(ours) == pytest.approx([expected.low, expected.high], abs=0.03 * width)


def test_the_interval_over_examples_draws_examples_with_all_their_seeds():
    # Two seeds that are right on the same 80 of 100 examples are worth one: no shorter interval.
    right = np.repeat([1.0, 0.0], [80, 20])
    one = intervals.examples_interval([right])
    assert intervals.examples_interval([right, right]) == one
    error = np.sqrt(0.8 * 0.2 / 100)
    assert bounds(one) == pytest.approx([0.8 - 2 * error, 0.8 + 2 * error], abs=0.02)


def test_examples_with_many_different_scores_are_drawn_like_those_with_few():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(1, 3000))
    low, high = bounds(intervals.examples_interval(scores))
    expected = scores.mean() + np.array([-1.96, 1.96]) * scores.std() / np.sqrt(3000)
    assert [low, high] == pytest.approx(expected, abs=0.15 * (high - low))


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.randoms(use_true_random=False), st.integers(1, 50), st.integers(-50, 50))
def test_intervals_ignore_the_order_of_seeds_and_follow_the_unit(values, random, scale, shift):
    shuffled = random.sample(values, len(values))
    moved = [scale * value + shift for value in values]
    for interval in (intervals.t_interval, intervals.bca_interval):
        low, high = bounds(interval(values))
        assert low <= high
        assert bounds(interval(shuffled)) == pytest.approx([low, high], abs=1e-9)
        expected = [scale * low + shift, scale * high + shift]
        assert bounds(interval(moved)) == pytest.approx(expected, abs=1e-7)


def test_the_interquartile_mean_is_that_of_rliable():
    scores = np.random.default_rng(2).normal(size=(10, 5))
    assert across_tasks.interquartile_mean(scores) == pytest.approx(metrics.aggregate_iqm(scores))
    uneven = [[0.1, 0.2, 0.3], [0.9], [0.5, 0.4]]
    assert across_tasks.interquartile_mean(uneven) == pytest.approx(np.mean([0.2, 0.3, 0.4, 0.5]))


def rliable_intervals(*args, **options):
    """rliable's bootstrap; its dependency arch 7 decorates with a helper that pandas 3 changed."""
    with pytest.MonkeyPatch.context() as patch:
        helper = "pandas.util._decorators.deprecate_kwarg"
        patch.setattr(helper, lambda *_: lambda function: function)
        from rliable import library as bootstrap  # noqa: PLC0415 - imported under the patch
    return bootstrap.get_interval_estimates(*args, **options)


def test_the_stratified_interval_is_that_of_rliable_at_the_level_for_so_few_seeds():
    scores = np.random.default_rng(3).normal(np.linspace(0, 3, 5), 1, size=(10, 5))
    level = 1 - 2 * special.ndtr(-intervals.normal_reach(50, 0.95, 5))
    _, expected = rliable_intervals(
        {"ours": scores},
        lambda drawn: np.array([metrics.aggregate_iqm(drawn)]),
        reps=3000,
        confidence_interval_size=level,
        random_state=np.random.RandomState(0),
    )
    ours = across_tasks.stratified_interval(scores.T, num_resamples=20_000)
    assert bounds(ours) == pytest.approx(expected["ours"].ravel(), abs=0.06)


def test_a_single_seed_says_nothing_about_other_seeds():
    assert bounds(across_tasks.stratified_interval([[0.2], [0.4]])) == pytest.approx([0.3, 0.3])
    with pytest.raises(ValueError, match="every task needs a score"):
        across_tasks.stratified_interval([[0.2], []])


def test_ranks_and_wins_leave_out_tasks_that_anyone_lacks():
    scores = [[0.9, 0.5, 0.7], [0.8, 0.5, np.nan], [0.7, 0.6, 0.9]]
    assert across_tasks.mean_ranks(scores).tolist() == [(1 + 2.5) / 2, (2 + 2.5) / 2, 2]
    assert across_tasks.win_rates(scores).tolist() == [2.5 / 4, 1.5 / 4, 2 / 4]


def test_without_a_common_task_there_are_no_ranks():
    assert np.isnan(across_tasks.mean_ranks([[0.9, np.nan], [np.nan, 0.5]])).all()
    assert np.isnan(across_tasks.win_rates([[0.9, 0.5]])).all()


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=3), min_size=2, max_size=6))
def test_win_rates_count_every_rival_on_every_task(scores):
    array = np.array(scores, dtype=float)
    counted = [
        np.mean(
            [
                1.0 if ours > theirs else 0.5 if ours == theirs else 0.0
                for rival, row in enumerate(array)
                if rival != method
                for ours, theirs in zip(array[method], row, strict=True)
            ]
        )
        for method in range(len(array))
    ]
    assert across_tasks.win_rates(array) == pytest.approx(counted)
