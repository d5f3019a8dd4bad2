"""Where the time of the quickstart goes, stage by stage, on a store that is empty at the start.

    python -m benchmarks.quickstart [SWEEP]

Packages that were fetched before stay fetched: the download is not what is measured.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter, defaultdict

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from cluster.store import Store
from orchestrator import run
from orchestrator.running.journal import read_journal
from orchestrator.running.progress import Progress
from orchestrator.running.workspace import open_sweep


class Clock:
    """An observer that prints when each phase of a run began."""

    def __init__(self) -> None:
        self.started = time.perf_counter()

    def changed(self, progress: Progress) -> None:
        """Ignore it."""

    def message(self, text: str) -> None:
        """Print the message with the time."""
        print(f"{time.perf_counter() - self.started:7.1f} s  {text}", flush=True)


def main() -> None:
    """Run the sweep and print the table."""
    path = sys.argv[1] if len(sys.argv) > 1 else "examples/quickstart.yaml"
    with tempfile.TemporaryDirectory(prefix="quickstart-") as folder:
        clock = Clock()
        report = run(path, store=folder, observer=clock)
        wall_s = time.perf_counter() - clock.started
        _print_stages(path, folder, wall_s)
        again_at = time.perf_counter()
        again = run(path, store=folder)
        print(
            f"{path}: {dict(report.counts)} in {wall_s:.1f} s; run again: {again.num_reused} "
            f"known, {time.perf_counter() - again_at:.1f} s"
        )


def _print_stages(path: str, folder: str, wall_s: float) -> None:
    workspace = open_sweep(path, folder)
    durations: dict[str, float] = defaultdict(float)
    counts: Counter[str] = Counter()
    for event in read_journal(Store(folder), workspace.sweep.name):
        if event.kind == "stage_finished":
            name = workspace.nodes[event.stages[0]].stage.name
            durations[name] += event.detail["duration_s"]
            counts[name] += 1
    print(f"\n{'stage':22}{'times':>6}{'seconds':>10}{'mean':>9}")
    for name, duration_s in sorted(durations.items(), key=lambda item: -item[1]):
        print(f"{name:22}{counts[name]:6}{duration_s:10.1f}{duration_s / counts[name]:9.2f}")
    print(f"{'all on workers':22}{'':6}{sum(durations.values()):10.1f}")
    print(f"{'wall clock':22}{'':6}{wall_s:10.1f}\n")


if __name__ == "__main__":
    main()
