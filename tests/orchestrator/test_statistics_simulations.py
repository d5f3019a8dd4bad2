"""Measures on simulated sweeps how often intervals hold the truth and tests are wrong.

The figures of docs/statistics.md stand here; each simulation draws its own seeds.
"""

from itertools import combinations

import numpy as np
import pytest
from scipy import special, stats

from orchestrator.comparing.statistics import across_tasks, families, intervals, pairs

NUM_SWEEPS = 2000


def normal(rng, size):
    return rng.normal(size=size)


def skewed(rng, size):
    """Skewness 1, mean 0."""
    return rng.gamma(4, size=size) - 4


def coverage(made, truth=0.0):
    return np.mean([interval.low <= truth <= interval.high for interval in made])


@pytest.mark.parametrize("num_seeds", [3, 5, 10])
def test_the_t_interval_holds_the_truth_in_95_of_100_sweeps(num_seeds):
    sweeps = normal(np.random.default_rng(10 + num_seeds), (NUM_SWEEPS, num_seeds))
    assert 0.93 <= coverage(map(intervals.t_interval, sweeps)) <= 0.97


@pytest.mark.parametrize("num_seeds", [3, 5, 10])
def test_the_t_interval_bears_moderate_skew(num_seeds):
    sweeps = skewed(np.random.default_rng(20 + num_seeds), (NUM_SWEEPS, num_seeds))
    assert 0.92 <= coverage(map(intervals.t_interval, sweeps)) <= 0.97


@pytest.mark.parametrize("draw", [normal, skewed])
@pytest.mark.parametrize(
    ("num_seeds", "least", "most"), [(3, 0.70, 0.80), (5, 0.89, 0.94), (20, 0.93, 0.97)]
)
def test_the_bootstrap_needs_many_seeds(draw, num_seeds, least, most):
    sweeps = draw(np.random.default_rng(30 + num_seeds), (NUM_SWEEPS, num_seeds))
    made = (intervals.bca_interval(seeds, num_resamples=1000) for seeds in sweeps)
    assert least <= coverage(made) <= most


@pytest.mark.parametrize("apart", [0, 1, 5])
def test_the_stratified_interval_holds_the_truth_for_five_tasks_of_ten_seeds(apart):
    rng = np.random.default_rng(40)
    tasks = apart * np.linspace(-1, 1, 5)[:, None]
    # The tasks lie around 0 alike on both sides, and so does the middle half of all runs.
    made = [
        across_tasks.stratified_interval(tasks + rng.normal(size=(5, 10)), num_resamples=500)
        for _ in range(NUM_SWEEPS // 2)
    ]
    assert 0.93 <= coverage(made) <= 0.97


@pytest.mark.parametrize("num_seeds", [3, 5, 10])
def test_an_interval_over_seeds_and_examples_is_never_too_short(num_seeds, monkeypatch):
    monkeypatch.setattr(pairs, "NUM_RESAMPLES", 500)
    rng = np.random.default_rng(50)
    for seed_spread in (0.0, 0.1):
        made = []
        for _ in range(200):
            shape = (num_seeds, 100)
            noise = 0.3 * rng.normal(size=100) + seed_spread * rng.normal(size=(num_seeds, 1))
            made.append(
                pairs.difference_interval(
                    noise + 0.3 * rng.normal(size=shape), 0 * rng.normal(size=shape)
                )
            )
        assert coverage(made) >= 0.92


def simulated(rng, case, num_configs, num_seeds):
    """Return scores and which configs are truly as good as the best."""
    scores = rng.normal(size=(num_configs, num_seeds))
    is_best = np.ones(num_configs, dtype=bool)
    if "half worse" in case:
        is_best[num_configs // 2 :] = False
    if "one wild" in case:
        scores[0] *= 10
    if "half wild" in case:
        scores[::2] *= 10
    if "seeds shared" in case:
        scores += 5 * rng.normal(size=num_seeds)
    return scores - 3 * ~is_best[:, None], is_best


CASES = ["all equal", "half worse", "one wild", "half worse, one wild", "half wild", "seeds shared"]


@pytest.mark.parametrize("num_configs", [2, 8, 40])
@pytest.mark.parametrize("case", CASES)
def test_no_config_as_good_as_the_best_is_called_worse_in_95_of_100_sweeps(case, num_configs):
    rng = np.random.default_rng(60)
    num_sweeps = 400
    for num_seeds in (3, 5, 10):
        num_wrong = 0
        for _ in range(num_sweeps):
            scores, is_best = simulated(rng, case, num_configs, num_seeds)
            p = np.array(families.tied_with_best(scores, "max"))
            num_wrong += (p[is_best] <= 0.05).any()
        # More would come from an error rate of 5% once in 1,000 times.
        assert num_wrong <= stats.binom.ppf(0.999, num_sweeps, 0.05), num_seeds


def false_contrasts(rng, budgets, num_seeds, *, shared_luck, at_equal_budget):
    """Return how often equal methods seem to differ, by configs chosen on the validation split."""
    chosen = []
    for num_configs in budgets:
        size = (2 * NUM_SWEEPS, num_configs, num_seeds)
        validation, other = rng.normal(size=size), rng.normal(size=size)
        test = shared_luck * validation + np.sqrt(1 - shared_luck**2) * other
        chosen.append(test[np.arange(len(test)), validation.mean(axis=2).argmax(axis=1)])
    p_values = []
    for a, b in combinations(range(len(budgets)), 2):
        differences = chosen[a] - chosen[b]
        t = differences.mean(axis=1) / stats.sem(differences, axis=1)
        p = 2 * special.stdtr(num_seeds - 1, -np.abs(t))
        if at_equal_budget:
            won, lost = budgets[a], budgets[b]
            p = [
                families.at_equal_budget(one, won, lost)
                if lead > 0
                else families.at_equal_budget(one, lost, won)
                for one, lead in zip(p, t, strict=True)
            ]
        p_values.append(p)
    return np.mean([min(families.holm(one)) <= 0.05 for one in np.transpose(p_values)])


@pytest.mark.parametrize("budgets", [(1, 1), (8, 8, 8, 8), (8, 40), (1, 40), (1, 1, 1, 40)])
@pytest.mark.parametrize("shared_luck", [0, 0.5, 0.9])
def test_equal_methods_differ_in_at_most_5_of_100_sweeps(budgets, shared_luck):
    rng = np.random.default_rng(70)
    for num_seeds in (3, 5, 10):
        rate = false_contrasts(
            rng, budgets, num_seeds, shared_luck=shared_luck, at_equal_budget=True
        )
        assert rate <= 0.061, num_seeds  # 5% and three standard errors


def test_without_the_correction_a_larger_budget_wins_by_luck():
    rng = np.random.default_rng(80)
    assert false_contrasts(rng, (1, 40), 5, shared_luck=0.9, at_equal_budget=False) > 0.12
