"""Runs members of a cohort together and alone, and compares what they come to."""

import numpy as np
import pytest
import torch

from cluster.job import Resources
from cluster.store import Store
from orchestrator.running.checkpoint import StoreCheckpoint
from orchestrator.running.worker_context import WorkerContext
from pipelines.cohorts import CohortMember
from pipelines.transfer.data.loading import SPLITS
from pipelines.transfer.finetuning import finetune
from tests.pipelines.test_transfer import Fake

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def context_on(device, folder):
    """Return what a worker on a device gives to a stage; checkpoints are kept in a folder."""
    context = WorkerContext(Resources(num_gpus=int(device == "cuda")))
    store = Store(str(folder / "store"))
    context.checkpoint = lambda member: StoreCheckpoint(store, "0" * 64, member)
    return context


@pytest.fixture(params=DEVICES)
def context(request, tmp_path):
    """The context of a worker, on a GPU too where there is one."""
    return context_on(request.param, tmp_path)


def together(function, context, model, tokens, params, **options):
    """Return by position what the members of a cohort come to; `tokens` may be a list of each."""
    each = tokens if isinstance(tokens, list) else [tokens] * len(params)
    members = [
        CohortMember(params=own, inputs={"prepared": prepared}, sources={"model": model})
        for own, prepared in zip(params, each, strict=True)
    ]
    ended = {}
    for batch in function(context, members, **options):
        ended |= batch
    return ended


def of_several_sizes(tokens, count, sizes=(40, 25)):
    """Return the same task by turns with other numbers of training rows, for so many members."""
    made = []
    for size in sizes:
        tables = {split: tokens.table(split) for split in SPLITS}
        made.append(Fake(tokens.value, {**tables, "train": tables["train"].slice(0, size)}))
    return [made[n % len(made)] for n in range(count)]


class Alone:
    """What single members come to by themselves, computed once for each."""

    def __init__(self):
        self._known = {}

    def __call__(self, context, model, tokens, params):
        tables = {split: tokens.table(split).to_pydict() for split in SPLITS}
        key = repr((context.device, model.digest, sorted(params.items()), tokens.value, tables))
        if key not in self._known:
            (self._known[key],) = finetune(
                context, [params], {"prepared": tokens}, {"model": model}
            )
        return self._known[key]


@pytest.fixture(scope="module")
def alone():
    """Return what a member comes to by itself."""
    return Alone()


def assert_equal(one, other):
    """Compare scores, curves and counts of weights."""
    ours, theirs = (np.stack(r.tables["predictions"]["scores"].to_pylist()) for r in (one, other))
    np.testing.assert_allclose(ours, theirs, atol=2e-4)
    assert len(one.value["curve"]) == len(other.value["curve"])
    for point, twin in zip(one.value["curve"], other.value["curve"], strict=True):
        assert point == pytest.approx(twin, abs=2e-4)
    for name in ("num_weights", "num_trained_weights"):
        assert one.value[name] == other.value[name]
