"""What to run, in which order, and what happened.

from orchestrator import Sweep, plan, run

report = run("sweep.yaml")          # or a Sweep, or a dict with the same keys
report.to_pandas()
"""

from orchestrator.errors import FanflareError, InvalidSweepError, SweepBusyError, UnknownNameError
from orchestrator.planning.sweep import Sweep
from orchestrator.running.options import RunOptions
from orchestrator.running.past import report
from orchestrator.running.session import plan, run

__all__ = [
    "FanflareError",
    "InvalidSweepError",
    "RunOptions",
    "Sweep",
    "SweepBusyError",
    "UnknownNameError",
    "plan",
    "report",
    "run",
]
