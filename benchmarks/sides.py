"""The sides that `benchmarks.sharing` compares, each a call in a process of its own; times none.

Each prints what it did, as a line of JSON.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.device import HAS_GPU

SIZES = (1000, 300, 400)
RATES = [round(0.001 * 1.25**n, 6) for n in range(10)]
DECAYS = [0.0, 0.01, 0.1, 0.3]
EPOCHS = 10
TASKS = [
    "rotten-tomatoes",
    "bbc-news",
    "reuters-r8",
    "20-newsgroups",
    "tweet-author",
    "medmcqa-subject",
    "icd10-chapter",
    "chinese-reviews",
    "sentiment-tweets",
    "sentiment-amazon",
]
FULL_SIZES = (500, 100, 400)
FULL_RATES = [5e-5, 1e-4, 2e-4, 4e-4]
ON_DEVICE: dict[str, Any] = {"resources": {"num_gpus": 1}} if HAS_GPU else {}
"""What every sweep asks for besides."""


def probes(num_seeds: int, tasks: list[str], **more: Any) -> dict[str, Any]:
    """Return a sweep of linear heads."""
    train, validation, test = SIZES
    return {
        "name": "sharing",
        "models": "all-MiniLM-L6-v2",
        "tasks": tasks,
        "seeds": num_seeds,
        "train_size": train,
        "validation_size": validation,
        "test_size": test,
        "space": {
            "method": "probe",
            "max_length": 64,
            "epochs": EPOCHS,
            "learning_rate": RATES,
            "weight_decay": DECAYS,
        },
        **ON_DEVICE,
        **more,
    }


def trainings(sizes: tuple[int, int, int], space: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a sweep of trials that train weights of the model itself."""
    train, validation, test = sizes
    return {
        "name": "sharing",
        "models": "all-MiniLM-L6-v2",
        "tasks": "rotten-tomatoes",
        "train_size": train,
        "validation_size": validation,
        "test_size": test,
        "space": {"max_length": 64, **space},
        **ON_DEVICE,
        **more,
    }


def encoders(tasks: list[str]) -> dict[str, Any]:
    """Return a sweep of a head a task, on the features of :func:`probes`, but none of its heads."""
    first = probes(1, tasks)
    space = {**first["space"], "learning_rate": 2 * max(RATES), "weight_decay": 0.0}
    return {**first, "name": "features", "space": space}


def partials(**more: Any) -> dict[str, Any]:
    """Return a sweep of trials that train the uppermost of six layers."""
    space = {
        "method": "partial",
        "frozen_layers": 5,
        "epochs": 3,
        "learning_rate": [1e-4, 2e-4, 5e-4, 1e-3],
        "head_learning_rate": [0.003, 0.01],
    }
    return trainings(SIZES, space, max_concurrent=1, **more)


def fulls() -> dict[str, Any]:
    """Return a sweep of 8 short trials that train all weights."""
    space = {"method": "full", "epochs": 1, "warmup_ratio": 0.0, "learning_rate": FULL_RATES}
    return trainings(FULL_SIZES, space, seeds=2)


def loras(batch_size: int, frozen_layers: int = 0, **more: Any) -> dict[str, Any]:
    """Return a sweep of 8 trials with adapters above some layers."""
    space = {
        "method": "lora",
        "frozen_layers": frozen_layers,
        "epochs": 2,
        "batch_size": batch_size,
        "rank": [4, 8],
        "learning_rate": [5e-4, 1e-3, 2e-3, 4e-3],
    }
    return trainings((400, 100, 200), space, max_concurrent=1, **more)


def run_sweep(sweep: dict[str, Any], folder: Path) -> None:
    """Run a sweep and print its mean test accuracy: one side, in a process of its own."""
    from orchestrator import run  # noqa: PLC0415 - its import is a part of what is timed

    report = run(sweep, store=str(folder / "store"))
    metrics = [
        result.metrics.get("test/accuracy", result.metrics.get("test/pearson"))
        for result in report.results
    ]
    print(json.dumps({"num_trials": len(metrics), "accuracy": statistics.fmean(metrics)}))


def tune_trunk(num_trials: int, folder: Path) -> None:
    """Run trials that pass every batch through the frozen model."""
    from benchmarks import rivals  # noqa: PLC0415

    rivals.texts("rotten-tomatoes", SIZES)
    started_at = time.perf_counter()
    space = {
        "sizes": list(SIZES),
        "epochs": EPOCHS,
        "weight_decay": 0.01,
        "lr": rivals.tune.grid_search(RATES[:: max(1, len(RATES) * 2 // num_trials)]),
        "seed": rivals.tune.grid_search([0, 1]),
    }
    found = rivals.fit(rivals.FrozenTrunk, space, folder, tracked=True)
    _print_rival(found, started_at)


def tune_features(tasks: list[str], num_seeds: int, folder: Path, *, tracked: bool = True) -> None:
    """Cache features by hand, then run a scikit-learn head a trial."""
    from benchmarks import rivals  # noqa: PLC0415

    rivals.ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    features = [rivals.ray.put(rivals.cached_features(task, SIZES, folder)) for task in tasks]
    started_at = time.perf_counter()
    space = {
        "features": features,
        "task": rivals.tune.grid_search(list(range(len(tasks)))),
        "epochs": EPOCHS,
        "lr": rivals.tune.grid_search([rate * 10 for rate in RATES]),  # plain SGD wants more
        "weight_decay": rivals.tune.grid_search(DECAYS),
        "seed": rivals.tune.grid_search(list(range(num_seeds))),
    }
    found = rivals.fit(rivals.CachedFeatures, space, folder, tracked=tracked)
    _print_rival(found, started_at)


def cache_features(tasks: list[str], folder: Path) -> None:
    """Cache features by hand, and no more."""
    from benchmarks import rivals  # noqa: PLC0415

    for task in tasks:
        rivals.cached_features(task, SIZES, folder)


def tune_trainer(folder: Path) -> None:
    """Fine-tune with transformers' Trainer in trials of Ray Tune."""
    from benchmarks import rivals  # noqa: PLC0415

    started_at = time.perf_counter()
    space = {
        "sizes": list(FULL_SIZES),
        "lr": rivals.tune.grid_search(FULL_RATES),
        "seed": rivals.tune.grid_search([0, 1]),
    }
    found = rivals.fit(rivals.Finetuned, space, folder, tracked=True)
    _print_rival(found, started_at)


def _print_rival(found: list[float], started_at: float) -> None:
    trials_s = time.perf_counter() - started_at
    facts = {"num_trials": len(found), "accuracy": statistics.fmean(found), "trials_s": trials_s}
    print(json.dumps(facts))
