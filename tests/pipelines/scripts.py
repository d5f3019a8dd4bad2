"""Sweeps of scripts, for the tests of the pipeline `command`."""

import json
from pathlib import Path

import pytest

from cluster.job import State
from orchestrator import InvalidSweepError, plan, report, run
from orchestrator.running.trial_logs import trial_logs
from tests.cli import sweep_file

SCRIPT = """
import json, os, sys
from pathlib import Path

arguments = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:])
with open("ran.txt", "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
if "out" in arguments:
    score = float(arguments.get("lr", 1)) * 10 + int(arguments.get("seed", 0))
    Path(arguments["out"], "metrics.json").write_text(json.dumps({"accuracy": score}))
"""


class Sweeps:
    """Sweeps of scripts in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script(SCRIPT)

    def script(self, text: str, name: str = "script.py") -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def file(self, space, **keys):
        content = {
            "name": "commands",
            "pipeline": "command",
            "metric": {"name": "accuracy", "mode": "max"},
            "tracking": "off",
            "store": "store",
            "space": space,
            **keys,
        }
        return sweep_file(self.folder, {k: value for k, value in content.items() if value})

    def run(self, space, backend="inline", **keys):
        return run(self.file(space, **keys), backend=backend)

    def failure(self, space, **keys):
        (result,) = self.run(space, **keys).results
        assert result.state is State.FAILED
        return result.failure

    def stored(self):
        """Return the one result with its curve, which a run does not keep in memory."""
        (result,) = report(self.folder / "sweep.yaml").results
        return result

    def faults(self, space, **keys):
        with pytest.raises(InvalidSweepError) as caught:
            plan(self.file(space, **keys))
        return "\n".join(map(str, caught.value.faults))

    def ran(self):
        path = self.folder / "ran.txt"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def log(self, result):
        (log,) = trial_logs(result.trial.id, str(self.folder / "sweep.yaml"))
        return log.text
