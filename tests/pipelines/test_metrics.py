"""The metrics are those of scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from pipelines.transfer.metrics import compute_metrics, compute_word_metrics

PAIRS = st.integers(2, 6).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), min_size=1, max_size=60),
    )
)


@given(case=PAIRS, positive=st.integers(0, 1))
def test_classes_are_scored_as_by_scikit_learn(case, positive):
    num_classes, pairs = case
    labels, predictions = np.array(pairs).T
    ours = compute_metrics(labels, predictions, num_classes=num_classes, positive=positive)
    options = {"labels": range(num_classes), "zero_division": 0}
    scores = metrics.f1_score(labels, predictions, average=None, **options)
    assert ours["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predictions))
    macro = metrics.f1_score(labels, predictions, average="macro", zero_division=0)
    assert ours["f1_macro"] == pytest.approx(macro)
    assert ours["f1"] == pytest.approx(scores[positive] if num_classes == 2 else macro)
    theirs = metrics.matthews_corrcoef(labels, predictions)
    assert ours["matthews_corrcoef"] == pytest.approx(theirs, abs=1e-9)


@given(case=PAIRS, lost=st.sets(st.integers(0, 20)))
def test_words_are_scored_as_by_scikit_learn(case, lost):
    num_tags, pairs = case
    labels, predictions = np.array(pairs).T
    predictions = np.where(np.isin(np.arange(len(labels)), list(lost)), -1, predictions)
    tags = [f"t{n}" for n in range(num_tags)]
    ours = compute_word_metrics(labels, predictions, np.zeros(len(labels)), tags)
    macro = metrics.f1_score(
        labels, predictions, labels=np.unique(labels), average="macro", zero_division=0
    )
    assert ours["f1_macro"] == pytest.approx(macro)
    assert ours["accuracy"] == pytest.approx(np.mean(labels == predictions))
