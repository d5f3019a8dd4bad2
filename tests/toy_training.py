"""The toy pipeline with a stage that learns step by step, and can be cut and go on.

Each begin and each step leaves a trace `begin NODE VALUE SEED STEP` or `step NODE VALUE SEED STEP`.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.contract import Node, Stage, StageResult
from pipelines.pipeline import TrialSettings
from tests.toy import Toy, ToyPipeline, _count, folder

TRAIN = Stage(name="toy/train", version=1, function="tests.toy_training:train", typical_s=1.0)


PAUSE = 1
"""How long a step's sleep is, as a factor: it is no part of a result."""


@dataclass(frozen=True)
class TrainingToys(ToyPipeline):
    """Params `anything: {steps: N, told: K, held_at: S}`, of which the last two may be missing.

    So many steps of `sleep_s`; preempted K times; no step after S before the file `until` is there.
    """

    def graph(self, trial: TrialSettings) -> Node:
        last = super().graph(trial)
        worked = replace(last.inputs["worked"], stage=TRAIN)
        return replace(last, inputs={"worked": worked})


TRAINING = TrainingToys()


def sweep_of(toy: Toy, space: Any, **keys: Any) -> dict[str, Any]:
    """Return a sweep of this pipeline."""
    return {**toy.sweep(space, **keys), "pipeline": "tests.toy_training:TRAINING"}


def train(context: Any, members: Any, inputs: Any, sources: Any) -> list[StageResult]:
    """Add up a random number a step; half of the state is in an array."""
    (params,) = members
    checkpoint = context.checkpoint(0)
    step, total = 0, 0.0
    if (saved := checkpoint.load()) is not None:
        step, total = saved[1]["step"], float(saved[0]["total"][0])
    _trace("begin", params, step)
    _preempt_if_asked(params)
    while step < params["anything"]["steps"]:
        total += random.Random(f"{params['value']}/{params['seed']}/{step}").random()
        step += 1
        time.sleep(params["sleep_s"] * PAUSE)
        _trace("step", params, step)
        while (is_due := checkpoint.is_due()) or _is_held(params, step):
            if is_due:
                checkpoint.save({"total": np.array([total])}, {"step": step})
            time.sleep(0.02)
    return [StageResult(value={"score": total, "curve": [{"step": step, "loss": -total}]})]


def _is_held(params: Mapping[str, Any], step: int) -> bool:
    return step == params["anything"].get("held_at") and not Path(params["until"]).exists()


def _preempt_if_asked(params: Mapping[str, Any]) -> None:
    """Tell this process twice that it has to end, and then to end without a checkpoint."""
    times = params["anything"].get("told", 0)
    if times and _count(f"told-{params['tag']}-{params['value']}-{params['seed']}") <= times:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)


def _trace(kind: str, params: Mapping[str, Any], step: int) -> None:
    folder().mkdir(parents=True, exist_ok=True)
    node = os.environ.get("TOY_NODE", "here")
    line = f"{kind} {node} {params['value']:g} {params['seed']} {step}\n"
    with (folder() / f"{params['tag']}.log").open("ab", buffering=0) as file:
        file.write(line.encode())
