"""The stage `run`: fills in a trial's command, runs it, reads what it gave; plans nothing."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.command.files import Script
from pipelines.command.metrics import Reported, read_json
from pipelines.command.mlflow_run import MlflowRun, open_run
from pipelines.command.process import Ended, execute
from pipelines.command.template import rendered
from pipelines.contract import Artifact, CommandError, Context, InputError, Member, StageResult


def run(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Run the command of a trial and return its metrics and curve.

    Raises:
        CommandError: The command failed, was killed or took too long.
        InputError: It left no metrics, or a file that it rests on has changed.
        DivergedError: A metric is not finite.
    """
    (member,) = members
    script: Script = sources["script"]
    script.check()
    trial = _Trial.of(context, member, script)
    tracked = open_run(context) if member["metrics"] == "mlflow" else None
    reported = Reported()
    sys.stdout.write(f"$ {shlex.join(trial.words)}\n")
    ended = execute(
        trial.words,
        trial.folder,
        _environment(context, trial, member, tracked),
        script.timeout_s,
        reported.take_line if member["metrics"] == "stdout" else lambda _: None,
    )
    _check(ended, script)
    return [StageResult(value=_read(member["metrics"], trial, tracked, reported).value())]


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """One trial's command with everything filled in."""

    words: Sequence[str]
    folder: Path
    """Where it runs."""
    values: Mapping[str, Any]
    """What each placeholder stands for."""

    @classmethod
    def of(cls, context: Context, member: Member, script: Script) -> _Trial:
        output = context.scratch / "output"
        output.mkdir()
        values = {
            **member["params"],
            "seed": member["seed"],
            "output_dir": str(output),
            "sweep_dir": str(script.folder),
            "python": sys.executable,
        }
        filled = (rendered(word, values) for word in member["command"])
        return cls(
            words=[word for word in filled if word is not None],
            folder=script.folder / Path(rendered(member["cwd"], values) or ".").expanduser(),
            values=values,
        )

    @property
    def output(self) -> Path:
        return Path(self.values["output_dir"])


def _environment(
    context: Context, trial: _Trial, member: Member, tracked: MlflowRun | None
) -> dict[str, str]:
    """Return the worker's environment with the trial's own variables, those of `env` last."""
    given = {
        name: None if value is None else rendered(value, trial.values)
        for name, value in member["env"].items()
    }
    changes: dict[str, str | None] = {
        "OMP_NUM_THREADS": str(context.num_cpus),
        "PYTHONUNBUFFERED": "1",  # so that what was printed is there when the command is killed
        "FANFLARE_SEED": str(member["seed"]),
        "FANFLARE_OUTPUT_DIR": str(trial.output),
        **(tracked.environment if tracked else {}),
        **given,
    }
    environment = {name: value for name, value in os.environ.items() if name not in changes}
    return environment | {name: value for name, value in changes.items() if value is not None}


def _check(ended: Ended, script: Script) -> None:
    """Raise unless the command ended well.

    Raises:
        CommandError: It did not.
    """
    if ended.timed_out:
        what = f"was ended after {script.timeout_s:g} s (timeout_s)"
    elif ended.exit_code == 0:
        return
    elif ended.signal_name:
        what = f"was ended by {ended.signal_name}"
        what += " (out of memory?)" if ended.signal_name == "SIGKILL" else ""
    else:
        what = f"ended with exit code {ended.exit_code}"
    said = f": {ended.last_error.strip()}" if ended.last_error else ""
    raise CommandError("\n".join([f"{script.name} {what}{said}", *ended.tail]))


def _read(metrics: str, trial: _Trial, tracked: MlflowRun | None, reported: Reported) -> Reported:
    if tracked:
        return tracked.read()
    if metrics != "stdout":
        return read_json(trial.output / (rendered(metrics, trial.values) or ""))
    if not reported.final:
        raise InputError(
            "no line of stdout is a JSON object with a number, as "
            '{"step": 100, "loss": 0.5} or {"accuracy": 0.9}',
            key="metrics",
        )
    return reported
