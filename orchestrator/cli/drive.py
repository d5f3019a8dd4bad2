"""The door through which a cluster comes: runs the sweep of the bundle in which it was started.

`python -m orchestrator.cli.drive [FOLDER]`, the folder of an unpacked bundle, by default the
current one; what the sweep itself leaves in the current folder stays there. Its exit code is 0
whenever the store knows how the sweep ended, also where trials have failed: anything else asks
whoever started it for another attempt.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cluster.artifact import StoreError
from cluster.job import State
from orchestrator.cli.console import stderr
from orchestrator.cli.progress_display import display_on
from orchestrator.errors import FanflareError
from orchestrator.submitting.driving import drive

EXIT_ENDED = 0
EXIT_BROKEN = 3


def main() -> None:
    """Run the sweep and exit."""
    console = stderr()
    try:
        with display_on(console) as display:
            report = drive(Path(*sys.argv[1:2]).resolve(), display)
    except (FanflareError, StoreError) as error:
        console.print(str(error), markup=False, highlight=False)
        sys.exit(EXIT_BROKEN)
    counts = ", ".join(f"{num} {state.lower()}" for state, num in report.counts.items())
    console.print(f"sweep {report.sweep} is {report.state}: {counts}", highlight=False)
    sys.exit(EXIT_BROKEN if report.state is State.RUNNING else EXIT_ENDED)


if __name__ == "__main__":
    main()
