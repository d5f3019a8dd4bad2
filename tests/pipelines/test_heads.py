"""Heads that are trained side by side come to what each would come to alone."""

import numpy as np
import pytest
import torch

from pipelines.training.heads import Head, train_heads
from pipelines.training.learner import Learner
from pipelines.training.loop import train
from pipelines.transfer.data.truth import WordSpans
from pipelines.transfer.examples import FeatureExamples, new_head
from pipelines.transfer.params import ProbeParams
from tests.pipelines.cohorts import DEVICES

on_devices = pytest.mark.parametrize("device", DEVICES)
WIDTH = 24
MIXED = (
    {},
    {"learning_rate": 0.1, "schedule": "cosine", "warmup_ratio": 0.2},
    {"epochs": 7, "schedule": "constant", "weight_decay": 0.5},
    {"epochs": 3, "max_grad_norm": 0.0},
    {"epochs": 12, "patience": 1, "learning_rate": 0.3},
    {"batch_size": 7, "max_grad_norm": 0.1},
    {"batch_size": 500, "learning_rate": 0.03},
)


def rows(num_rows, seed, kind, start=0, device="cpu"):
    """Return features of which a linear map tells the label, but for some noise."""
    true = torch.Generator().manual_seed(99)
    planes = torch.randn(WIDTH, 3, generator=true)
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(num_rows, WIDTH, generator=draw)
    scores = features @ planes + torch.randn(num_rows, 3, generator=draw)
    features, scores = features[start:].to(device), scores[start:].to(device)
    if kind == "number":
        return FeatureExamples(features, scores[:, 0])
    if kind == "words":
        counts = np.array([1 + i % 4 for i in range(num_rows)])
        counts = counts[: np.searchsorted(np.cumsum(counts), len(features), side="right")]
        features, scores = features[: counts.sum()], scores[: counts.sum()]
        return FeatureExamples(features, scores.argmax(1), WordSpans(counts))
    return FeatureExamples(features, scores.argmax(1))


def members(count):
    return [
        {**ProbeParams(**{"epochs": 5, **MIXED[i % len(MIXED)]}).model_dump(), "seed": i // 2}
        for i in range(count)
    ]


def fresh(params, train_rows, validation_rows):
    outputs = 1 if train_rows.labels.is_floating_point() else 3
    return Head(
        params=params,
        linear=new_head(WIDTH, outputs, params["seed"]).to(train_rows.features.device),
        train=train_rows,
        validation=validation_rows,
    )


def alone(params, train_rows, validation_rows):
    head = fresh(params, train_rows, validation_rows)
    learner = Learner(
        forward=head.linear,
        module=head.linear,
        groups=[{"params": list(head.linear.parameters())}],
    )
    head.curve = train(learner, train_rows, validation_rows, params)
    return head


def assert_equal(one, other):
    torch.testing.assert_close(one.linear.weight, other.linear.weight, rtol=1e-4, atol=2e-6)
    torch.testing.assert_close(one.linear.bias, other.linear.bias, rtol=1e-4, atol=2e-6)
    assert [sorted(point) for point in one.curve] == [sorted(point) for point in other.curve]
    for ours, theirs in zip(one.curve, other.curve, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("kind", ["class", "number", "words"])
@pytest.mark.parametrize("count", [1, 2, 7, 32])
@on_devices
def test_a_cohort_of_mixed_heads_gives_what_each_gives_alone(count, kind, device):
    data = rows(90, 1, kind, device=device), rows(40, 2, kind, device=device)
    heads = [fresh(params, *data) for params in members(count)]
    train_heads(heads)
    for head in heads:
        assert_equal(head, alone(head.params, *data))


@on_devices
def test_the_order_of_the_members_and_their_company_change_nothing(device):
    data = rows(90, 1, "class", device=device), rows(40, 2, "class", device=device)
    heads = [fresh(params, *data) for params in members(14)]
    train_heads(heads)
    shuffled = [fresh(params, *data) for params in members(14)][::-3]
    train_heads(shuffled)
    for head in shuffled:
        twin = next(h for h in heads if h.params == head.params)
        assert_equal(head, twin)


@on_devices
def test_a_head_that_diverges_leaves_the_others_alone(device):
    data = rows(90, 1, "number", device=device), rows(40, 2, "number", device=device)
    params = members(7)
    params[3] = {**params[3], "learning_rate": 1e30}
    heads = [fresh(each, *data) for each in params]
    train_heads(heads)
    assert "not finite any more in step" in str(heads[3].error)
    for head in heads[:3] + heads[4:]:
        assert head.error is None
        assert_equal(head, alone(head.params, *data))


@on_devices
def test_training_sets_of_different_sizes_share_a_cohort(device):
    large, validation = (rows(n, n, "class", device=device) for n in (90, 40))
    small = FeatureExamples(large.features[:30], large.labels[:30])
    heads = [
        fresh(params, small if i % 2 else large, validation) for i, params in enumerate(members(6))
    ]
    train_heads(heads)
    for head in heads:
        assert_equal(head, alone(head.params, head.train, validation))
