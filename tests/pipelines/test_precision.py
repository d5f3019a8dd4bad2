"""Which arithmetic a stage has: what was asked for, and nothing that a device does by itself."""

from types import SimpleNamespace

import pytest
import torch

from cluster.job import Resources
from orchestrator.running.worker_context import WorkerContext
from pipelines.models.backbone import set_up_torch
from pipelines.training.precision import precision_on


@pytest.mark.parametrize(("capability", "expected"), [(7, torch.float32), (9, torch.bfloat16)])
def test_bf16_is_chosen_where_a_device_computes_in_it_and_not_where_it_emulates_it(
    monkeypatch, capability, expected
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    device = SimpleNamespace(major=capability)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: device)
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda _: True)
    assert precision_on("cuda", "auto") is expected
    assert precision_on("cuda", "fp32") is torch.float32
    assert precision_on("cpu", "auto") is torch.float32


def test_single_precision_is_not_rounded_to_tf32():
    torch.backends.cudnn.allow_tf32 = True  # torch's default
    set_up_torch(WorkerContext(Resources()))
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
