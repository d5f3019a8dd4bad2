"""Calls the command line, in this process or in one of its own; both give the same."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import main
from orchestrator.cli.console import stderr, stdout

ROOT = Path(__file__).resolve().parent.parent
COMMAND = (sys.executable, "-c", "from orchestrator.cli import main; main()")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def fanflare(capsys, monkeypatch):
    """Run a command in this process."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def call(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["fanflare", *map(str, arguments)])
        for console in (stdout, stderr):  # they are bound to the streams of an earlier call
            console.cache_clear()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Ended(int(ended.value.code or 0), out, err)

    yield call
    stdout.cache_clear()
    stderr.cache_clear()


def start(*arguments: object, **options: Any) -> subprocess.Popen:
    """Start a command as a process of its own, in the root of the repository."""
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def sweep_file(folder: Path, content: Any, name: str = "sweep.yaml") -> Path:
    """Write a sweep file; JSON is YAML too."""
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
    return path


@pytest.fixture
def toy_file(toy, tmp_path):
    """Write a toy sweep into a file."""

    def write(space=None, **keys):
        name = f"{keys.get('name', 'toy')}.yaml"
        return sweep_file(tmp_path, toy.sweep(space or {"value": [1, 2]}, **keys), name)

    return write


@pytest.fixture
def run(fanflare):
    """Run a sweep in this process."""
    return lambda file, *options: fanflare("run", file, "--backend", "inline", *options)
