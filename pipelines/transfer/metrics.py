"""The metrics of tasks by their names in scikit-learn and GLUE; late imports, no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipelines.sources.base import TaskKind
from pipelines.sources.tags import marks_entities
from pipelines.transfer.entities import entity_f1

if TYPE_CHECKING:
    import numpy as np

CLASSIFICATION_METRICS = {
    "accuracy": "max",
    "f1": "max",
    "f1_macro": "max",
    "matthews_corrcoef": "max",
}
"""Metrics of labels, each with whether more or less is better. `f1` is that of the second class
by alphabetical order where there are two classes, as scikit-learn has it, else it equals
`f1_macro`."""

REGRESSION_METRICS = {"pearson": "max", "spearmanr": "max", "mean_squared_error": "min"}
"""Metrics of real numbers; the correlations have their names from GLUE's STS-B."""


TOKEN_METRICS = {"accuracy": "max", "f1": "max", "f1_macro": "max"}
"""Metrics of labelled words. `accuracy` is that of words, `f1_macro` the mean over the tags that a
split has. `f1` is seqeval's micro F1 of entities where the tags mark them (BIO), else it equals
`f1_macro`."""


LANGUAGE_METRICS = {"perplexity": "min", "loss": "min"}
"""Metrics of language modelling: `loss` is the mean negative log likelihood of a token, in nats,
`perplexity` its exponential. Both compare only between models with the same tokenizer."""


def metric_names(kind: TaskKind) -> Mapping[str, str]:
    """Return the metrics of a kind of task, each with `max` or `min`."""
    if kind.labels_words:
        return TOKEN_METRICS
    if kind.is_unlabelled:
        return LANGUAGE_METRICS
    return REGRESSION_METRICS if kind.is_regression else CLASSIFICATION_METRICS


def compute_metrics(
    labels: np.ndarray, predictions: np.ndarray, *, num_classes: int | None, positive: int = 1
) -> dict[str, float]:
    """Return all metrics of a kind of task.

    Args:
        labels: `(rows,)` class indices, or real numbers.
        predictions: `(rows,)` of the same kind.
        num_classes: How many classes the task has; None for real numbers.
        positive: The class that `f1` looks at where there are two.

    Returns:
        Value by metric. A correlation with constant predictions counts as 0: such a model
        knows nothing of the order.
    """
    if num_classes is None:
        return _regression(labels, predictions)
    counts = _confusion(labels, predictions, num_classes)
    scores = _f1_scores(counts)
    occurs = counts.sum(axis=1) + counts.sum(axis=0)[:-1] > 0  # as in scikit-learn
    macro = float(scores[occurs].mean())
    return {
        "accuracy": float(counts.trace() / counts.sum()),
        "f1": float(scores[positive]) if num_classes == 2 else macro,
        "f1_macro": macro,
        "matthews_corrcoef": _matthews_corrcoef(counts),
    }


def compute_word_metrics(
    labels: np.ndarray, predictions: np.ndarray, rows: np.ndarray, tags: Sequence[str]
) -> dict[str, float]:
    """Return all metrics of labelled words.

    A word without a prediction, because it was cut off, is wrong; among entities it counts as
    predicted to be outside of one.

    Args:
        labels: `(words,)` numbers of tags.
        predictions: `(words,)` numbers of tags, -1 for none.
        rows: `(words,)` the sentence of each word; the words of a sentence follow each other.
        tags: The names of the tags.
    """
    import numpy as np  # noqa: PLC0415 - a plan needs the names of metrics only

    scores = _f1_scores(_confusion(labels, predictions, len(tags)))
    macro = float(scores[np.unique(labels)].mean())
    values = {"accuracy": float(np.mean(labels == predictions)), "f1_macro": macro}
    if not marks_entities(tags):
        return {**values, "f1": values["f1_macro"]}
    starts = np.flatnonzero(np.diff(rows, prepend=-1))[1:]
    names = np.array([*tags, "O"])  # so that -1 is outside
    sentences = [
        [part.tolist() for part in np.split(names[numbers], starts)]
        for numbers in (labels, predictions)
    ]
    return {**values, "f1": entity_f1(*sentences)}


def compute_language_metrics(losses: np.ndarray, num_tokens: np.ndarray) -> dict[str, float]:
    """Return all metrics of language modelling.

    Args:
        losses: `(blocks,)` sums of negative log likelihoods, in nats.
        num_tokens: `(blocks,)` how many tokens each of them is of.

    Returns:
        Value by metric. A perplexity beyond what a float holds is the largest one, as results
        are kept as JSON, which has no infinity.
    """
    loss = float(losses.sum() / num_tokens.sum())
    return {"perplexity": math.exp(min(loss, 709.0)), "loss": loss}


def _confusion(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Return how many rows of each class are predicted as which, `(classes, classes)`.

    Scikit-learn's own functions check and count their input anew for every metric, which takes
    20 ms a trial: longer than training one of many linear heads. A row without a prediction
    counts for its class only, in a last column.
    """
    import numpy as np  # noqa: PLC0415

    width = num_classes + 1
    predicted = np.where(predictions < 0, num_classes, predictions)
    cells = np.bincount(labels * width + predicted, minlength=num_classes * width)
    return cells.reshape(num_classes, width)


def _f1_scores(counts: np.ndarray) -> np.ndarray:
    """Return the F1 of each class as `sklearn.metrics.f1_score`, 0 where it never occurs."""
    import numpy as np  # noqa: PLC0415

    right = counts.diagonal()
    there = counts.sum(axis=1) + counts.sum(axis=0)[:-1]
    scores: np.ndarray = 2 * right / np.maximum(there, 1)
    return scores


def _matthews_corrcoef(counts: np.ndarray) -> float:
    """Return the correlation of classes as `sklearn.metrics.matthews_corrcoef`.

    Source: J. Gorodkin, Comparing two K-category assignments by a K-category correlation
    coefficient, 2004. It is 0 where either side has one class only.
    """
    import numpy as np  # noqa: PLC0415

    true, predicted = counts.sum(axis=1).astype(float), counts.sum(axis=0)[:-1].astype(float)
    total = float(counts.sum())
    covariance = float(counts.trace()) * total - true @ predicted
    spread = (total**2 - true @ true) * (total**2 - predicted @ predicted)
    return float(covariance / np.sqrt(spread)) if spread > 0 else 0.0


def _regression(labels: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    import numpy as np  # noqa: PLC0415
    from scipy import stats  # noqa: PLC0415

    varies = np.ptp(predictions) > 0 and np.ptp(labels) > 0
    return {
        "pearson": float(stats.pearsonr(labels, predictions).statistic) if varies else 0.0,
        "spearmanr": float(stats.spearmanr(labels, predictions).statistic) if varies else 0.0,
        "mean_squared_error": float(np.mean((labels - predictions) ** 2)),
    }
