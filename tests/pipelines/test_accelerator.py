"""A sweep on an accelerator: what trials come to in cohorts there is what each comes to alone."""

import os
from collections import Counter
from unittest import mock

import pytest
import torch

from orchestrator import run
from orchestrator.running.verify import VerifyOptions, verify
from orchestrator.running.worker_context import WorkerContext
from pipelines.labels import Fidelity
from tests.fresh_processes import fresh_process
from tests.pipelines import simulated_accelerator
from tests.pipelines.tiny import save_bert, save_tagged, save_task

FP32 = {"precision": "fp32"}
SPACE = [
    {"method": "probe", "learning_rate": [0.01, 0.1], "epochs": [1, 2]},
    {"method": "partial", **FP32, "frozen_layers": [1, 0], "learning_rate": [1e-3, 1e-2]},
    {"method": "lora", **FP32, "frozen_layers": [1, 0], "rank": [2, 4], "dropout": 0.3},
    {"method": "full", **FP32, "epochs": [1, 2], "schedule": "constant"},
    {"method": "distill", **FP32, "teacher": {"method": "full"}, "tasks": "classes"},
]


@pytest.fixture
def sweep(tmp_path):
    """A sweep of short trials of a tiny model, one and all on a GPU."""
    tagged = {"kind": "token-classification", "text": "words", "label": "tags"}
    return {
        "name": "s",
        "models": {"name": "tiny", "source": str(save_bert(tmp_path / "model"))},
        "tasks": [
            {"name": "classes", "source": str(save_task(tmp_path / "classes.csv", 60))},
            {"name": "tags", "source": str(save_tagged(tmp_path / "tags.jsonl", 60)), **tagged},
        ],
        "train_size": 16,
        "validation_size": 8,
        "test_size": 8,
        "space": [{"max_length": 16, "epochs": 1, "batch_size": 8, **part} for part in SPACE],
        "resources": {"num_gpus": 1},
        "store": str(tmp_path / "store"),
        "tracking": "off",
    }


def on_accelerator(sweep):
    """Run and verify a sweep on the GPU of this machine, or else on a simulated one."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "0"
    if torch.cuda.is_available():
        return run_and_verify(sweep)
    made = WorkerContext.__init__

    def on_device(self, resources):
        made(self, resources)
        self.device = self.device.replace("cuda", simulated_accelerator.NAME)

    simulated_accelerator.install()
    with mock.patch.object(WorkerContext, "__init__", on_device), simulated_accelerator.in_use():
        return run_and_verify(sweep)


def run_and_verify(sweep):
    results = run(sweep, backend="inline").results
    return results, verify(sweep, VerifyOptions(sample=len(results))).checks


@pytest.fixture(scope="module")
def child():
    """Another process, because a device that is simulated stays in it for good."""
    with fresh_process() as pool:
        yield pool


def test_cohorts_of_all_methods_come_to_what_each_trial_comes_to_alone(child, sweep):
    results, checks = child.submit(on_accelerator, sweep).result(timeout=600)
    assert [result.failure for result in results if result.failure] == []
    num_together = 2 * (4 + 4 + 4)  # tasks by probes, partials and loras
    labels = Counter(result.fidelity for result in results)
    assert labels == {Fidelity.EQUAL: num_together, Fidelity.EXACT: 2 * 2 + 1}
    assert len(checks) == len(results)
    assert {check.config: check.faults for check in checks if check.faults} == {}
    if not torch.cuda.is_available():  # which adds up in no fixed order, even for a lone trial
        exact = [check.differences for check in checks if check.label is Fidelity.EXACT]
        assert all(found.scores == found.metrics == 0 for found in exact)


def mixed_up():
    simulated_accelerator.install()
    with simulated_accelerator.in_use():
        there, here = torch.ones(2, device=simulated_accelerator.NAME), torch.ones(2)
        assert (there + there).cpu().tolist() == [2, 2]
        return torch.add(there, here)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real one")
def test_the_simulated_accelerator_refuses_what_a_real_one_refuses(child):
    with pytest.raises(RuntimeError, match="on the same device"):
        child.submit(mixed_up).result(timeout=60)
