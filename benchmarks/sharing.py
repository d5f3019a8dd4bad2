"""What shared compute is worth: sweeps of fanflare against named rivals, cold, end to end.

    python -m benchmarks.sharing [--rows trunk features untracked tasks partial ...] [--repeats 1]

Every side is a new process with an empty store, timed from its start to its end; only models and
data are downloaded before. Both sides write every trial to MLflow on SQLite, but for the row
`untracked`, where neither does. Test accuracies of both sides are compared before a ratio is
printed; a rival that would take hours runs some trials and is extrapolated, which is said. For the
row `heads` both sides have computed the features before. On a machine with a GPU
both sides compute on it, and how busy it was and the most memory in use are printed as well.
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
from dataclasses import dataclass
from pathlib import Path

from benchmarks.device import HAS_GPU, Use, use_of, watched
from benchmarks.sides import TASKS

LARGEST_GAP = 0.03
"""By how much the mean test accuracies of two sides may differ: the heads start elsewhere and are
trained by other optimizers."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Two sides of a comparison, each an expression over `benchmarks.sides` and `folder`."""

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
    gpu: Use | None = None
    """What the GPU did meanwhile, where there is one."""

    def extrapolated(self, num_trials: int) -> float:
        """Return the seconds for another number of trials."""
        return self.fixed_s + (self.seconds - self.fixed_s) * num_trials / self.num_trials

    def told(self) -> str:
        """Return what is said of it after its seconds."""
        gpu = f"{self.gpu}, " if self.gpu else ""
        return f"{gpu}accuracy {self.accuracy:.3f}"


def in_new_process(call: str, before: str = "") -> Side:
    """Run one side, an expression over `benchmarks.sides` and `folder`, and time all of it.

    Args:
        call: The side.
        before: What is run in the same folder first, and not timed.
    """
    with tempfile.TemporaryDirectory(prefix="sharing-") as folder:
        if before:
            _called(before, folder)
        with watched() as samples:
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
        gpu=use_of(samples),
    )


def _called(call: str, folder: str) -> str:
    """Return what an expression prints in a new process."""
    code = (
        "from pathlib import Path; import sys; from benchmarks.sides import *\n"
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
            f"  fanflare {one.seconds:7.1f} s, {one.told()};"
            f" rival {rival_s:8.1f} s{note}, {other.told()}",
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
    sizes = (1, 2, 4, 8, 16, 32, 64) if HAS_GPU else (8,)
    return [
        Row(
            name=f"lora, batch size {batch_size}",
            ours=f"run_sweep(loras({batch_size}), folder)",
            theirs=f"run_sweep(loras({batch_size}, sharing='off'), folder)",
            num_trials=8,
            goal=2 if HAS_GPU else 1,
        )
        for batch_size in sizes
    ]


ROWS: dict[str, list[Row]] = {
    "trunk": [
        Row(
            name="probe, frozen model in each trial",
            ours="run_sweep(probes(5, ['rotten-tomatoes']), folder)",
            theirs="tune_trunk(8, folder)",
            num_trials=200,
            goal=300,
        )
    ],
    "features": [
        Row(
            name="probe, features cached by hand",
            ours="run_sweep(probes(25, ['rotten-tomatoes']), folder)",
            theirs="tune_features(['rotten-tomatoes'], 25, folder)",
            num_trials=1000,
            goal=3,
        )
    ],
    "untracked": [
        Row(
            name="the same without MLflow",
            ours="run_sweep(probes(25, ['rotten-tomatoes'], tracking='off'), folder)",
            theirs="tune_features(['rotten-tomatoes'], 25, folder, tracked=False)",
            num_trials=1000,
            goal=3,
        )
    ],
    "tasks": [
        Row(
            name=f"probe, {len(TASKS)} tasks",
            ours=f"run_sweep(probes(5, {TASKS}), folder)",
            theirs=f"tune_features({TASKS}, 5, folder)",
            num_trials=2000,
            goal=5,
        )
    ],
    "heads": [
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
    "partial": [
        Row(
            name="partial, 5 of 6 layers frozen",
            ours="run_sweep(partials(), folder)",
            theirs="run_sweep(partials(sharing='off'), folder)",
            num_trials=8,
            goal=2.5,
        )
    ],
    "full": [
        Row(
            name="full, 500 rows",
            ours="run_sweep(fulls(), folder)",
            theirs="tune_trainer(folder)",
            num_trials=8,
            goal=1.5,
        )
    ],
    "lora": lora_rows(),
    "lora-above": [
        Row(
            name="lora above 4 of 6 layers",
            ours="run_sweep(loras(8, 4), folder)",
            theirs="run_sweep(loras(8, 4, sharing='off'), folder)",
            num_trials=8,
            goal=1,
        )
    ],
}
"""What is measured, by the name on the command line."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    for name in options.rows:
        for row in ROWS[name]:
            compare(row, options.repeats)


if __name__ == "__main__":
    main()
