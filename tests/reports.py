"""Results made up for tests of reports: scores are what a test says, plus noise by seed."""

import itertools
import random

import numpy as np

from cluster.job import Cause, Failure, State
from orchestrator.planning.trial import Trial, TrialResult
from pipelines.example_scores import ExampleScores


def result(score, *, seed=0, test=None, state=State.FINISHED, mode="max", message="broke", **keys):
    """Return one result; `keys` are the trial's model, task, method, and its params."""
    model, task = keys.pop("model", "m"), keys.pop("task", "t")
    content = keys.pop("content", "")
    metric = "accuracy" if mode == "max" else "loss"
    identity = f"{content}{model}-{task}-{sorted(keys.items())}-{seed}"
    trial = Trial(
        id=identity, model=model, task=task, params={"method": "probe", **keys}, seed=seed,
        metric=metric, mode=mode, result_digest=identity, stages=(identity,),
    )  # fmt: skip
    if state is not State.FINISHED:
        failure = Failure(Cause.BUG, message) if state is State.FAILED else None
        return TrialResult(trial=trial, state=state, failure=failure)
    test = score if test is None else test
    metrics = {f"validation/{metric}": score, f"test/{metric}": test}
    return TrialResult(trial=trial, state=state, metrics=metrics)


def seeds(mean, *, num=5, spread=0.01, test=None, **keys):
    """Return the results of one config, whose seeds lie around a mean."""
    noise = random.Random(repr((mean, sorted(keys.items()))))
    made = []
    for seed in range(num):
        scores = [m + noise.gauss(0, spread) for m in (mean, mean if test is None else test)]
        made.append(result(scores[0], test=scores[1], seed=seed, **keys))
    return made


def grid(*, num=3, spread=0.005):
    """Return results with all that a report can show: models, tasks, sizes, and a failure."""
    made = []
    axes = itertools.product(("m", "n"), ("a", "b"), ("probe", "full"), (50, 100), (0.1, 0.2))
    for model, task, method, size, rate in axes:
        mean = 0.5 + 0.1 * (model == "n") + 0.1 * (method == "full") + size / 1000 + rate / 10
        keys = {"model": model, "task": task, "method": method}
        made += seeds(mean, num=num, spread=spread, train_size=size, rate=rate, **keys)
    made.append(
        result(0, state=State.FAILED, seed=num, model="m", task="a", train_size=50, rate=0.1)
    )
    return made


def right_or_wrong(num_examples):
    """Return a reader of example scores: each right with the chance that the test score says."""

    def read(trial_result):
        chance = np.random.default_rng(trial_result.trial.seed).random(num_examples)
        scores = (chance < trial_result.score("test")).astype(float)
        return ExampleScores(examples="same", scores=scores)

    return read
