"""Runs members of a cohort together and alone, and compares what they come to."""

import numpy as np
import pytest

from pipelines.cohorts import CohortMember
from pipelines.transfer.finetuning import finetune


def together(function, context, model, tokens, params, **options):
    """Return by position what the members of a cohort come to."""
    members = [
        CohortMember(params=each, inputs={"prepared": tokens}, sources={"model": model})
        for each in params
    ]
    ended = {}
    for batch in function(context, members, **options):
        ended |= batch
    return ended


def alone(context, model, tokens, params):
    """Return what one member comes to by itself."""
    (result,) = finetune(context, [params], {"prepared": tokens}, {"model": model})
    return result


def assert_equal(one, other):
    """Compare scores, curves and counts of weights."""
    ours, theirs = (np.stack(r.tables["predictions"]["scores"].to_pylist()) for r in (one, other))
    np.testing.assert_allclose(ours, theirs, atol=2e-4)
    assert len(one.value["curve"]) == len(other.value["curve"])
    for point, twin in zip(one.value["curve"], other.value["curve"], strict=True):
        assert point == pytest.approx(twin, abs=2e-4)
    for name in ("num_weights", "num_trained_weights"):
        assert one.value[name] == other.value[name]
