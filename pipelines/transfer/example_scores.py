"""What each example adds to a metric, from kept predictions; trains and tests nothing.

Of a metric that is a mean over examples it is the example's own score: right or wrong, squared
error. All others (F1, correlations, perplexity) are smooth functions of sums over examples, and an
example has its jackknife pseudo-value: n times the metric less n - 1 times the metric without it.
To first order the metric of any resample is the mean of its pseudo-values, so that means,
bootstraps and paired tests over examples need to know one kind of number only. Source: Efron and
Tibshirani (1993), An Introduction to the Bootstrap, chapter 11. An example of labelled words is a
sentence, as its words depend on each other; of language modelling it is a block.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.contract import Artifact, Member
from pipelines.example_scores import ExampleScores
from pipelines.sources.tags import marks_entities
from pipelines.transfer.entities import entities
from pipelines.transfer.evaluation import positive_class

MAX_CELLS = 2**25
"""Numbers held at once for a metric of classes; a task with more classes than that has no
scores."""
MAX_RANKED = 4096
"""Rows up to which Spearman's correlation is computed without each of them: it takes their
square."""

Sums = Sequence[np.ndarray]
"""Statistics of examples, each `(examples,)` or `(examples, classes)`."""


def example_scores(
    metric: str, split: str, member: Member, inputs: Mapping[str, Artifact]
) -> ExampleScores | None:
    """Return what each example of a split adds to a metric; see :mod:`pipelines.example_scores`."""
    artifact = inputs["predictions"]
    predictions = artifact.table("predictions")
    part = predictions.filter(pc.equal(predictions["split"], split))
    labels = artifact.value["labels"]
    if not len(part):
        return None
    if "nll" in part.column_names:
        scores = _of_blocks(metric, part)
        truth = ["row", "num_tokens"]
    elif "position" in part.column_names:
        scores = _of_sentences(metric, part, labels)
        truth = ["row", "position", "label"]
    else:
        truth = ["row", "label"]
        if labels is None:
            scores = _of_numbers(metric, *_columns(part))
        else:
            positive = positive_class(member.get("positive"), labels)
            scores = _of_classes(metric, *_columns(part), len(labels), positive)
    if scores is None or not np.isfinite(scores).all():
        return None
    return ExampleScores(examples=_digest(part, truth), scores=scores)


def pseudo_values(sums: Sums, metric: Callable[..., np.ndarray]) -> np.ndarray:
    """Return the jackknife pseudo-values of a metric of sums, `(examples,)`.

    Args:
        sums: What each example adds.
        metric: From as many arrays of sums to values, over all leading axes at once.
    """
    count = len(sums[0])
    totals = [part.sum(axis=0, keepdims=True) for part in sums]
    without = metric(*(total - part for total, part in zip(totals, sums, strict=True)))
    values: np.ndarray = count * metric(*totals) - (count - 1) * without
    return values


def _columns(part: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    return part["label"].to_numpy(), part["prediction"].to_numpy()


def _digest(part: pa.Table, names: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(np.ascontiguousarray(part[name].to_numpy()).tobytes())
    return digest.hexdigest()


# Blocks of text


def _of_blocks(metric: str, part: pa.Table) -> np.ndarray | None:
    losses, counts = part["nll"].to_numpy(), part["num_tokens"].to_numpy()
    sums = losses.astype(np.float64), counts.astype(np.float64)
    if metric == "loss":
        return pseudo_values(sums, _ratio)
    if metric == "perplexity":
        return pseudo_values(sums, lambda loss, count: np.exp(np.minimum(_ratio(loss, count), 700)))
    return None


def _ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    return np.asarray(over / np.maximum(under, 1))


# Real numbers


def _of_numbers(metric: str, labels: np.ndarray, predictions: np.ndarray) -> np.ndarray | None:
    if metric == "mean_squared_error":
        return np.asarray((labels - predictions) ** 2)
    if len(labels) < 3 or np.ptp(predictions) == 0 or np.ptp(labels) == 0:
        return None
    if metric == "pearson":
        # Centred, so that no digits are lost in the differences of sums.
        return _pearson(labels - labels.mean(), predictions - predictions.mean())
    if metric == "spearmanr" and len(labels) <= MAX_RANKED:
        return _spearman(labels, predictions)
    return None


def _pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return pseudo_values((np.ones(len(x)), x, y, x * x, y * y, x * y), _correlation)


def _correlation(n: np.ndarray, *sums: np.ndarray) -> np.ndarray:
    x, y, xx, yy, xy = sums
    spread = (xx - x * x / n) * (yy - y * y / n)
    return np.asarray((xy - x * y / n) / np.sqrt(np.maximum(spread, 1e-300)))


def _spearman(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Return pseudo-values of the correlation of ranks, which move when an example goes."""
    from scipy import stats  # noqa: PLC0415 - a second to load, and few tasks need it

    first, second = stats.rankdata(labels), stats.rankdata(predictions)
    count = len(labels)
    whole = np.corrcoef(first, second)[0, 1]
    without = np.empty(count)
    for row in range(count):
        x = np.delete(_ranks_without(first, row), row)
        y = np.delete(_ranks_without(second, row), row)
        x, y = x - x.mean(), y - y.mean()
        spread = np.sqrt((x @ x) * (y @ y))
        without[row] = x @ y / spread if spread else 0.0
    return np.asarray(count * whole - (count - 1) * without)


def _ranks_without(ranks: np.ndarray, row: int) -> np.ndarray:
    """Return the mean ranks once an example is gone: those above fall by 1, equals by a half."""
    return np.asarray(ranks - (ranks > ranks[row]) - 0.5 * (ranks == ranks[row]))


# Classes


def _of_classes(
    metric: str, labels: np.ndarray, predictions: np.ndarray, num_classes: int, positive: int
) -> np.ndarray | None:
    if metric == "accuracy":
        return np.asarray(labels == predictions, dtype=np.float64)
    # Examples with the same class and prediction are alike, so each such pair is computed once.
    pairs, places = np.unique(np.stack([labels, predictions]), axis=1, return_inverse=True)
    if pairs.shape[1] * num_classes > MAX_CELLS:
        return None
    counts = np.bincount(places.ravel(), minlength=pairs.shape[1])
    # Of more than two, or of a mean, those count that occur, as in `compute_metrics`.
    classes = np.arange(2) if metric == "f1" and num_classes == 2 else np.unique(pairs)
    there, guessed = (part[:, None] == classes for part in pairs)
    sums = [part.astype(np.float64) for part in (there & guessed, there, guessed)]
    score = _class_metric(metric, num_classes, positive)
    if score is None:
        return None
    totals = [(part * counts[:, None]).sum(axis=0, keepdims=True) for part in sums]
    without = score(*(total - part for total, part in zip(totals, sums, strict=True)))
    num_rows = len(labels)
    values = num_rows * score(*totals) - (num_rows - 1) * without
    return np.asarray(values[places.ravel()])


def _class_metric(metric: str, num_classes: int, positive: int) -> Callable[..., np.ndarray] | None:
    """Return a metric as a function of right, true and predicted rows a class, `(..., classes)`."""
    if metric == "f1" and num_classes == 2:
        return lambda *sums: np.asarray(_f1(*sums)[..., positive])
    if metric in ("f1", "f1_macro"):
        return lambda *sums: np.asarray(_f1(*sums).mean(axis=-1))
    return _matthews if metric == "matthews_corrcoef" else None


def _f1(right: np.ndarray, there: np.ndarray, guessed: np.ndarray) -> np.ndarray:
    return np.asarray(2 * right / np.maximum(there + guessed, 1))


def _matthews(right: np.ndarray, there: np.ndarray, guessed: np.ndarray) -> np.ndarray:
    """Return Gorodkin's correlation of classes; 0 where either side has one class only."""
    total = there.sum(axis=-1)
    covariance = right.sum(axis=-1) * total - (there * guessed).sum(axis=-1)
    spread = (total**2 - (there**2).sum(axis=-1)) * (total**2 - (guessed**2).sum(axis=-1))
    return np.where(spread > 0, covariance / np.sqrt(np.maximum(spread, 1)), 0.0)


# Sentences of labelled words


def _of_sentences(metric: str, part: pa.Table, tags: Sequence[str]) -> np.ndarray | None:
    labels, predictions = _columns(part)
    rows = part["row"].to_numpy()
    starts = np.flatnonzero(np.diff(rows, prepend=rows[0] - 1))
    if metric == "accuracy":
        right = (labels == predictions).astype(np.float64)
        sums = np.add.reduceat(np.stack([right, np.ones(len(rows))], axis=1), starts)
        return pseudo_values((sums[:, 0], sums[:, 1]), _ratio)
    if metric == "f1" and marks_entities(tags):
        names = np.array([*tags, "O"])  # so that -1 is outside
        sentences = (np.split(names[numbers], starts[1:]) for numbers in (labels, predictions))
        counts = np.array([_entity_counts(t, g) for t, g in zip(*sentences, strict=True)], float)
        return pseudo_values((counts[:, 0], counts[:, 1]), _ratio)
    if metric not in ("f1", "f1_macro") or len(starts) * len(tags) > MAX_CELLS:
        return None
    present = np.unique(labels)
    by_tag = [
        np.stack([np.add.reduceat(hits == tag, starts, dtype=float) for tag in present], axis=1)
        for hits in (np.where(labels == predictions, labels, -1), labels, predictions)
    ]
    return pseudo_values(by_tag, lambda *parts: np.asarray(_f1(*parts).mean(axis=-1)))


def _entity_counts(tags: np.ndarray, guesses: np.ndarray) -> tuple[int, int]:
    """Return twice the entities that are right, and all those that are there or guessed."""
    there, guessed = set(entities(tags.tolist())), set(entities(guesses.tolist()))
    return 2 * len(there & guessed), len(there) + len(guessed)
