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
    from sklearn import metrics  # noqa: PLC0415 - a second of import that planning does not pay

    scores = metrics.f1_score(
        labels, predictions, labels=range(num_classes), average=None, zero_division=0
    )
    macro = float(scores.mean())
    return {
        "accuracy": float(metrics.accuracy_score(labels, predictions)),
        "f1": float(scores[positive]) if num_classes == 2 else macro,
        "f1_macro": macro,
        "matthews_corrcoef": float(metrics.matthews_corrcoef(labels, predictions)),
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
    import numpy as np  # noqa: PLC0415
    from sklearn import metrics  # noqa: PLC0415

    macro = metrics.f1_score(
        labels, predictions, labels=np.unique(labels), average="macro", zero_division=0
    )
    values = {"accuracy": float(np.mean(labels == predictions)), "f1_macro": float(macro)}
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


def _regression(labels: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    import numpy as np  # noqa: PLC0415
    from scipy import stats  # noqa: PLC0415

    varies = np.ptp(predictions) > 0 and np.ptp(labels) > 0
    return {
        "pearson": float(stats.pearsonr(labels, predictions).statistic) if varies else 0.0,
        "spearmanr": float(stats.spearmanr(labels, predictions).statistic) if varies else 0.0,
        "mean_squared_error": float(np.mean((labels - predictions) ** 2)),
    }
