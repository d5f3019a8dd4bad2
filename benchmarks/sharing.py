"""What shared compute is worth: sweeps of fanflare against named rivals, cold, end to end.

    python -m benchmarks.sharing [--rows trunk features untracked tasks partial ...] [--repeats 1]

Every side is a new process with an empty store, timed from its start to its end; only models and
data are downloaded before. Both sides write every trial to MLflow on SQLite, but for the row
`untracked`, where neither does. Test accuracies of both
sides are compared before a ratio is printed; a rival that would take hours runs some trials and
is extrapolated, which is said. For the row `heads` both sides have computed the features before.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
LARGEST_GAP = 0.03
"""By how much the mean test accuracies of two sides may differ: the heads start elsewhere and are
trained by other optimizers."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Two sides of a comparison, each an expression over this module and `folder`."""

    name: str
    ours: str
    theirs: str
    num_trials: int
    goal: float
    before_ours: str = ""
    """What is run in the same folder first, and not timed."""
    before_theirs: str = ""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side of a comparison: what it did, and how long that took."""

    seconds: float
    num_trials: int
    accuracy: float
    fixed_s: float = 0.0
    """Seconds before the first trial, where the rest is to be extrapolated."""

    def extrapolated(self, num_trials: int) -> float:
        """Return the seconds for another number of trials."""
        return self.fixed_s + (self.seconds - self.fixed_s) * num_trials / self.num_trials


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


def in_new_process(call: str, before: str = "") -> Side:
    """Run one side, an expression over this module and `folder`, and time all of it.

    Args:
        call: The side.
        before: What is run in the same folder first, and not timed.
    """
    with tempfile.TemporaryDirectory(prefix="sharing-") as folder:
        if before:
            _called(before, folder)
        started = time.perf_counter()
        printed = _called(call, folder)
        seconds = time.perf_counter() - started
    # Ray Tune may have the last word.
    told = [line for line in printed.splitlines() if line.startswith('{"num_trials"')]
    facts = json.loads(told[-1])
    fixed_s = seconds - facts["trials_s"] if "trials_s" in facts else 0.0
    return Side(
        seconds=seconds,
        num_trials=facts["num_trials"],
        accuracy=facts["accuracy"],
        fixed_s=fixed_s,
    )


def _called(call: str, folder: str) -> str:
    """Return what an expression prints in a new process."""
    code = (
        "from pathlib import Path; import sys; from benchmarks.sharing import *\n"
        f"folder = Path(sys.argv[1])\n{call}"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder],
        capture_output=True,
        text=True,
        env={**os.environ, "RAY_ADDRESS": "local", "PYTHONPATH": str(Path.cwd())},
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{call} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def compare(row: Row, repeats: int) -> None:
    """Print the ratio of two sides, the median of the repeats, with the smallest and largest."""
    ratios = []
    for _ in range(repeats):
        one = in_new_process(row.ours, row.before_ours)
        other = in_new_process(row.theirs, row.before_theirs)
        if one.num_trials != row.num_trials:
            raise SystemExit(f"{row.name}: {one.num_trials} of {row.num_trials} trials")
        if abs(one.accuracy - other.accuracy) > LARGEST_GAP:
            raise SystemExit(
                f"{row.name}: accuracy {one.accuracy:.3f} against {other.accuracy:.3f}"
            )
        rival_s = other.extrapolated(row.num_trials)
        note = "" if other.num_trials == row.num_trials else f" (from {other.num_trials} trials)"
        print(
            f"  fanflare {one.seconds:7.1f} s, accuracy {one.accuracy:.3f};"
            f" rival {rival_s:8.1f} s{note}, accuracy {other.accuracy:.3f}",
            flush=True,
        )
        ratios.append(rival_s / one.seconds)
    print(
        f"{row.name}: {statistics.median(ratios):.1f} times"
        f" ({min(ratios):.1f} to {max(ratios):.1f}, goal {row.goal:g})",
        flush=True,
    )


def lora_rows() -> list[Row]:
    """Return 8 trials with adapters against the same in turn; on an accelerator by batch size."""
    from cluster.machine import local_resources  # noqa: PLC0415

    has_gpu = local_resources().num_gpus > 0
    resources = {"num_gpus": 1} if has_gpu else {}
    sizes = (1, 2, 4, 8, 16, 32, 64) if has_gpu else (8,)
    sweeps = [f"loras({batch_size}, resources={resources}" for batch_size in sizes]
    return [
        Row(
            name=f"lora, batch size {batch_size}",
            ours=f"run_sweep({sweep}), folder)",
            theirs=f"run_sweep({sweep}, sharing='off'), folder)",
            num_trials=8,
            goal=2 if has_gpu else 1,
        )
        for batch_size, sweep in zip(sizes, sweeps, strict=True)
    ]


ROWS: dict[str, Callable[[], list[Row]]] = {
    "trunk": lambda: [
        Row(
            name="probe, frozen model in each trial",
            ours="run_sweep(probes(5, ['rotten-tomatoes']), folder)",
            theirs="tune_trunk(8, folder)",
            num_trials=200,
            goal=300,
        )
    ],
    "features": lambda: [
        Row(
            name="probe, features cached by hand",
            ours="run_sweep(probes(25, ['rotten-tomatoes']), folder)",
            theirs="tune_features(['rotten-tomatoes'], 25, folder)",
            num_trials=1000,
            goal=3,
        )
    ],
    "untracked": lambda: [
        Row(
            name="the same without MLflow",
            ours="run_sweep(probes(25, ['rotten-tomatoes'], tracking='off'), folder)",
            theirs="tune_features(['rotten-tomatoes'], 25, folder, tracked=False)",
            num_trials=1000,
            goal=3,
        )
    ],
    "tasks": lambda: [
        Row(
            name=f"probe, {len(TASKS)} tasks",
            ours=f"run_sweep(probes(5, {TASKS}), folder)",
            theirs=f"tune_features({TASKS}, 5, folder)",
            num_trials=2000,
            goal=5,
        )
    ],
    "heads": lambda: [
        Row(
            name="the same with the features of an earlier sweep on both sides",
            ours=f"run_sweep(probes(5, {TASKS}), folder)",
            theirs=f"tune_features({TASKS}, 5, folder)",
            num_trials=2000,
            goal=5,
            before_ours=f"run_sweep(encoders({TASKS}), folder)",
            before_theirs=f"cache_features({TASKS}, folder)",
        )
    ],
    "partial": lambda: [
        Row(
            name="partial, 5 of 6 layers frozen",
            ours="run_sweep(partials(), folder)",
            theirs="run_sweep(partials(sharing='off'), folder)",
            num_trials=8,
            goal=2.5,
        )
    ],
    "full": lambda: [
        Row(
            name="full, 500 rows",
            ours="run_sweep(fulls(), folder)",
            theirs="tune_trainer(folder)",
            num_trials=8,
            goal=1.5,
        )
    ],
    "lora": lora_rows,
    "lora-above": lambda: [
        Row(
            name="lora above 4 of 6 layers",
            ours="run_sweep(loras(8, 4), folder)",
            theirs="run_sweep(loras(8, 4, sharing='off'), folder)",
            num_trials=8,
            goal=1,
        )
    ],
}
"""What is measured, by the name of a row; each is made when it is asked for."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    for name in options.rows:
        for row in ROWS[name]():
            compare(row, options.repeats)


if __name__ == "__main__":
    main()
