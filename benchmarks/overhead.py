"""Trials per second of fanflare and of Ray Tune in its best set-up, on trials that do nothing.

    python -m benchmarks.overhead [--trials 2000] [--tune-trials 400]

Both run in one process on one Ray session, one after the other, with and without MLflow on
SQLite. Tune's best set-up is a class trainable with `reuse_actors=True`. Each time is that of
the whole call, from the sweep to the results, Ray's own start left out for both.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import ray
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback

from orchestrator import run

NUM_SEEDS = 20


class NoopTrainable(tune.Trainable):
    """Tune's side: one step that returns its param."""

    def step(self) -> dict[str, float | bool]:
        """Return the param as the score, and end."""
        return {"score": float(self.config["x"]), "done": True}

    def reset_config(self, new_config: dict[str, object]) -> bool:
        """Take another trial's params, so that the actor is used again."""
        self.config = new_config
        return True


def fanflare(num_trials: int, folder: Path, *, tracked: bool) -> int:
    """Run the sweep into a new store; return how many trials finished."""
    sweep = {
        "name": "overhead",
        "pipeline": "benchmarks.noop:PIPELINE",
        "space": {"x": list(range(num_trials // NUM_SEEDS))},
        "seeds": NUM_SEEDS,
        "metric": {"name": "score"},
        "tracking": {} if tracked else "off",
    }
    return run(sweep, store=str(folder)).counts["FINISHED"]


def ray_tune(num_trials: int, folder: Path, *, tracked: bool) -> int:
    """Run as many trials under Tune; return how many finished."""
    callbacks = []
    if tracked:
        uri = f"sqlite:///{folder}/mlflow.db"
        callbacks.append(MLflowLoggerCallback(tracking_uri=uri, experiment_name="overhead"))
    tuner = tune.Tuner(
        NoopTrainable,
        param_space={
            "x": tune.grid_search(list(range(num_trials // NUM_SEEDS))),
            "seed": tune.grid_search(list(range(NUM_SEEDS))),
        },
        tune_config=tune.TuneConfig(metric="score", mode="max", reuse_actors=True),
        run_config=tune.RunConfig(
            storage_path=str(folder / "tune"),
            verbose=0,
            callbacks=callbacks,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    return len([result for result in tuner.fit() if not result.error])


def rate(side: Callable[..., int], num_trials: int, *, tracked: bool) -> float:
    """Return trials per second of one side on an empty folder."""
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        started = time.perf_counter()
        num_finished = side(num_trials, Path(folder), tracked=tracked)
        elapsed_s = time.perf_counter() - started
    if num_finished != num_trials:
        raise SystemExit(f"{side.__name__}: {num_finished} of {num_trials} trials finished")
    return num_trials / elapsed_s


def peak_memory_mib() -> float:
    """Return this process's largest memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000, help="trials of fanflare")
    parser.add_argument("--tune-trials", type=int, default=400, help="trials of Ray Tune")
    options = parser.parse_args()
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    for tracked in (False, True):  # both sides' imports, so that neither pays for them
        rate(fanflare, NUM_SEEDS, tracked=tracked)
        rate(ray_tune, NUM_SEEDS, tracked=tracked)
    print(f"{options.trials} trials of fanflare, {options.tune_trials} of Ray Tune")
    for tracked, goal in ((False, 10), (True, 4)):
        before_mib = peak_memory_mib()
        ours = rate(fanflare, options.trials, tracked=tracked)
        grown_kib = (peak_memory_mib() - before_mib) * 1024 / options.trials
        theirs = rate(ray_tune, options.tune_trials, tracked=tracked)
        print(
            f"{'with MLflow on SQLite' if tracked else 'without tracking':24}"
            f"fanflare {ours:7.1f}/s   Ray Tune {theirs:6.1f}/s   ratio {ours / theirs:5.1f} "
            f"(goal {goal})   driver memory +{grown_kib:.1f} KiB a trial",
            flush=True,
        )


if __name__ == "__main__":
    main()
