"""Sweeps for simulations: jobs in the shape of ours, with lengths drawn at random.

A task is prepared, encoded by a model, and many heads are trained on the features; other trials
train the model itself. Seconds by kind of stage are those that the quickstart took (README.md);
they vary as a lognormal does, more than any recorded trial did.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.job import Resources
from orchestrator.planning.packing import PlannedJob

CPU = Resources(num_cpus=1)
GPU = Resources(num_cpus=1, num_gpus=1)

MEAN_S = {"prepare": 1.57, "encode": 21.13, "head": 0.46, "train": 26.55}
"""Of one execution on two cores, in the quickstart's table."""

SIGMA = 1.0
"""Deviation of the logarithm: one job in a hundred takes ten times the median. Recorded were 0.3 to
0.9 for heads, encoders and trainings."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Jobs, and how long each will really take."""

    jobs: tuple[PlannedJob, ...]
    duration_s: Mapping[str, float]
    trials: frozenset[str]
    """The jobs that end a trial."""


def lognormal(chance: random.Random, mean: float, sigma: float) -> float:
    """Draw from a lognormal distribution of a given mean."""
    return chance.lognormvariate(math.log(mean) - sigma**2 / 2, sigma)


def sweep_like(
    num_jobs: int,
    *,
    seed: int,
    estimate_sigma: float = 0.5,
    gpu_share: float = 0.0,
    train_share: float = 0.4,
) -> Workload:
    """Make a sweep.

    Args:
        num_jobs: About how many jobs; a five-hundredth of them are groups of model and task.
        seed: Of all draws.
        estimate_sigma: Deviation of the logarithm of estimated over real seconds.
        gpu_share: The part of encoders and trainings that need an accelerator.
        train_share: The part of trials that train the model.
    """
    chance = random.Random(seed)
    jobs: list[PlannedJob] = []
    duration_s: dict[str, float] = {}
    trials: list[str] = []

    def add(kind: str, needs: Sequence[str]) -> str:
        name = f"{kind}-{len(jobs)}"
        real_s = lognormal(chance, MEAN_S[kind], SIGMA)
        on_gpu = kind in ("encode", "train") and chance.random() < gpu_share
        duration_s[name] = real_s
        jobs.append(
            PlannedJob(
                id=name,
                stages=(name,),  # one stage a job: its digest is the job's name
                needs=frozenset(needs),
                resources=GPU if on_gpu else CPU,
                cost_s=real_s * math.exp(chance.gauss(0.0, estimate_sigma)),
            )
        )
        return name

    weights = [lognormal(chance, 1.0, 1.0) for _ in range(max(1, num_jobs // 500))]
    for weight in weights:
        prepared = add("prepare", ())
        encoded = add("encode", (prepared,))
        for _ in range(max(1, round(weight / sum(weights) * (num_jobs - 2 * len(weights))))):
            trains = chance.random() < train_share
            trials.append(add("train", (prepared,)) if trains else add("head", (encoded,)))
    chance.shuffle(jobs)
    return Workload(jobs=tuple(jobs), duration_s=duration_s, trials=frozenset(trials))
