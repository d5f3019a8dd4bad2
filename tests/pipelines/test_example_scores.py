"""What single examples add to a metric agrees with the metric, and with resampling it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.transfer.evaluation import evaluate
from pipelines.transfer.example_scores import example_scores

NUM_RESAMPLES = 400
RNG = np.random.default_rng(0)


@dataclass
class Predictions:
    """An artifact with predictions."""

    predictions: pa.Table
    labels: Any

    @property
    def value(self):
        return {"labels": self.labels}

    def table(self, name):
        return getattr(self, name)


def predictions(columns, labels=None, *, test=None):
    """Return predictions that are those of both splits, unless those for test are others."""
    parts = []
    for split, of_split in (("validation", columns), ("test", test or columns)):
        table = pa.table(of_split)
        parts.append(table.append_column("split", pa.array([split] * len(table))))
    return {"predictions": Predictions(pa.concat_tables(parts), labels)}


def classes(names="abc"):
    labels = RNG.integers(len(names), size=300)
    guesses = np.where(RNG.random(300) < 0.7, labels, RNG.integers(len(names), size=300))
    return {"row": np.arange(300), "label": labels, "prediction": guesses}, list(names)


def numbers():
    labels = RNG.normal(size=300)
    return {
        "row": np.arange(300),
        "label": labels,
        "prediction": labels + RNG.normal(size=300),
    }, None


def blocks():
    counts = RNG.integers(50, 100, size=200)
    return {
        "row": np.arange(200),
        "num_tokens": counts,
        "nll": counts * RNG.gamma(9, 1 / 3, 200),
    }, None


def words(names=("B-x", "I-x", "O")):
    rows = np.repeat(np.arange(200), RNG.integers(3, 9, size=200))
    labels = RNG.integers(len(names), size=len(rows))
    guesses = np.where(RNG.random(len(rows)) < 0.8, labels, -1)
    position = np.arange(len(rows))
    return {"row": rows, "position": position, "label": labels, "prediction": guesses}, list(names)


CASES = [
    (classes, "accuracy"), (classes, "f1_macro"), (classes, "matthews_corrcoef"),
    (lambda: classes("ab"), "f1"), (numbers, "mean_squared_error"), (numbers, "pearson"),
    (numbers, "spearmanr"), (blocks, "loss"), (blocks, "perplexity"), (words, "accuracy"),
    (words, "f1"), (words, "f1_macro"), (lambda: words(("x", "y", "z")), "f1"),
]  # fmt: skip


def values_of(metric, inputs):
    """Return the metric of each split."""
    (result,) = evaluate(None, [{}], inputs, {})
    return [result.value["metrics"][f"{split}/{metric}"] for split in ("validation", "test")]


def resampled(metric, columns, labels):
    """Return the metric of bootstrap samples of whole rows, computed anew for each."""
    places = [np.flatnonzero(columns["row"] == row) for row in np.unique(columns["row"])]

    def sample():
        drawn = RNG.integers(len(places), size=len(places))
        chosen = np.concatenate([places[n] for n in drawn])
        again = np.repeat(np.arange(len(places)), [len(places[n]) for n in drawn])
        return {**{name: column[chosen] for name, column in columns.items()}, "row": again}

    values = []
    while len(values) < NUM_RESAMPLES:
        values += values_of(metric, predictions(sample(), labels, test=sample()))
    return np.array(values)


@pytest.mark.parametrize(("make", "metric"), CASES)
def test_their_mean_is_the_metric_and_their_spread_that_of_resampling_it(make, metric):
    columns, labels = make()
    inputs = predictions(columns, labels)
    scores = example_scores(metric, "test", {}, inputs).scores
    assert len(scores) == len(np.unique(columns["row"]))
    error = scores.std() / np.sqrt(len(scores))
    assert scores.mean() == pytest.approx(values_of(metric, inputs)[1], abs=0.2 * error)
    assert error == pytest.approx(resampled(metric, columns, labels).std(), rel=0.15)


def test_right_and_wrong_are_one_and_nothing():
    columns, labels = classes()
    scores = example_scores("accuracy", "test", {}, predictions(columns, labels)).scores
    assert set(scores) == {0.0, 1.0}


def test_f1_looks_at_the_class_that_the_task_names():
    columns, labels = classes("ab")
    columns["prediction"] = np.where(columns["label"] == 1, 0, columns["prediction"])
    inputs = predictions(columns, labels)
    means = [example_scores("f1", "test", {"positive": p}, inputs).scores.mean() for p in labels]
    assert means[0] > 0.4 > means[1]


def test_other_rows_are_other_examples():
    columns, labels = classes()
    moved = {**columns, "row": columns["row"] + 1}
    better = {**columns, "prediction": columns["label"]}
    first, second, third = (
        example_scores("accuracy", "test", {}, predictions(part, labels)).examples
        for part in (columns, moved, better)
    )
    assert first == third != second


def test_constant_predictions_have_no_correlation_to_resample():
    columns, labels = numbers()
    constant = {**columns, "prediction": np.zeros(300)}
    assert example_scores("pearson", "test", {}, predictions(constant, labels)) is None
