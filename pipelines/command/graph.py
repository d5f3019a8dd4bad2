"""The pipeline `command`: one stage, and every fault that can be told before it runs.

run
"""

from __future__ import annotations

import difflib
import os
import shlex
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pipelines.command.files import Script, digests, matching_files, named_files
from pipelines.command.metrics import split_names
from pipelines.command.params import CommandParams
from pipelines.command.template import placeholders, rendered
from pipelines.contract import InputError, Node, Stage
from pipelines.pipeline import TrialSettings

RUN = Stage(name="command/run", version=1, function="pipelines.command.running:run", typical_s=60.0)

GIVEN = ("seed", "output_dir", "sweep_dir", "python")
"""Placeholders that every trial has."""

_SHELL_WORDS = frozenset({"|", "||", "&", "&&", ";", "<", ">", ">>", "2>", "2>&1"})


class CommandPipeline:
    """Any script of the user's own as a trial."""

    name = "command"
    takes_models = False
    takes_tasks = False

    def methods(self) -> Mapping[str, type[BaseModel]]:
        """Return the one schema."""
        return {"": CommandParams}

    def params_schema(self, method: str | None) -> type[BaseModel]:
        """Return the one schema; a param called `method` is the user's own."""
        del method
        return CommandParams

    def metrics(self, task: Any) -> Mapping[str, str]:
        """Return nothing: which metrics there are is up to the script."""
        del task
        return {}

    def result_name(self, name: str) -> str:
        """Return what a metric of the script is called in a result."""
        return split_names([name])[name]

    def graph(self, trial: TrialSettings) -> Node:
        """Return the one node of a trial.

        Raises:
            InputError: A placeholder, a folder, a file or the program is not there.
        """
        params = trial.params
        assert isinstance(params, CommandParams)
        words = _words(params.command)
        _check_names(params, words)
        _check_metrics(params.metrics)
        values = {**params.own, **dict.fromkeys(GIVEN, ""), "seed": trial.seed}
        values |= {"output_dir": "{output_dir}", "python": "{python}"}  # known to the worker only
        values["sweep_dir"] = str(trial.folder)
        filled = [word for text in words if (word := rendered(text, values)) is not None]
        folder = _working_folder(params, values, trial.folder)
        _check_program(filled, folder, params.env)
        return Node(
            stage=RUN,
            params={
                "command": words,
                "params": params.own,
                "env": params.env,
                "cwd": params.cwd,
                "metrics": params.metrics,
                "seed": trial.seed,
            },
            sources={"script": _script(params, filled, folder, trial.folder)},
        )


def _words(command: str) -> list[str]:
    words = _split(command, "command")
    if not words:
        raise InputError("no command", key="command")
    for word in words:
        if word in _SHELL_WORDS:
            raise InputError(
                f"no shell runs the command, so {word!r} would be an argument like any other; "
                f"if you mean a shell, write: bash -c '...'",
                key="command",
            )
    return words


def _split(text: str, key: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InputError(f"cannot be split into words: {error}", key=key) from error


def _check_names(params: CommandParams, words: Sequence[str]) -> None:
    """Hold placeholders and params against each other: every one of either needs the other."""
    texts: dict[str, Iterable[Any]] = {
        "command": words,
        "cwd": [params.cwd],
        "metrics": [params.metrics],
        "env": params.env.values(),
    }
    own = params.own
    used = {name for key, values in texts.items() for name in _used(key, values, own)}
    for name in own:
        if name in GIVEN:
            raise InputError(f"{name!r} is given to every trial; call it otherwise", key=name)
        if name in used:
            continue
        raise InputError(
            f"nothing uses {name!r}: write {{{name}}} into the command or into a variable of env"
            + _list_hint(words),
            key=name,
            nearest=_nearest(name, CommandParams.model_fields),
        )


def _used(key: str, values: Iterable[Any], own: Mapping[str, Any]) -> set[str]:
    """Return the names that the texts under a key use, after making sure that they exist."""
    used: set[str] = set()
    allowed = {
        "command": (*own, *GIVEN),
        "env": (*own, *GIVEN),
        "cwd": ("output_dir", "sweep_dir"),
        "metrics": (*own, "seed", "output_dir"),
    }[key]
    for text in values:
        if not isinstance(text, str):
            continue
        try:
            used.update(placeholders(text))
        except ValueError as error:
            raise InputError(
                f"{text!r}: {error}; a brace that is meant as such is written twice", key=key
            ) from error
    for name in sorted(used.difference(allowed)):
        raise InputError(
            f"{{{name}}} stands for nothing here; there are {', '.join(allowed)}",
            key=key,
            nearest=_nearest(name, allowed),
        )
    return used


def _check_metrics(metrics: str) -> None:
    if metrics in ("stdout", "mlflow"):
        return
    if not Path(metrics).suffix:
        raise InputError(
            f"{metrics!r} is neither 'stdout' nor 'mlflow' nor the name of a JSON file",
            key="metrics",
            nearest=_nearest(metrics, ("stdout", "mlflow")),
        )
    inside = metrics.removeprefix("{output_dir}/")
    if inside.startswith("/") or ".." in Path(inside).parts:
        raise InputError(
            "the file must be in {output_dir}, or trials would read each other's metrics",
            key="metrics",
        )


def _working_folder(params: CommandParams, values: Mapping[str, Any], begin: Path) -> Path:
    """Return the folder in which files of the command are looked for."""
    if "output_dir" in placeholders(params.cwd):
        return begin  # an empty folder, made for the trial
    folder = begin / Path(rendered(params.cwd, values) or ".").expanduser()
    if not folder.is_dir():
        beside = [path.name for path in folder.parent.glob("*") if path.is_dir()]
        nearest = _nearest(folder.name, beside)
        raise InputError(f"there is no folder {folder}", key="cwd", nearest=nearest)
    return folder


def _check_program(words: Sequence[str], folder: Path, env: Mapping[str, Any]) -> None:
    if not words:
        raise InputError("the program itself is null", key="command")
    program = words[0]
    if program == "{python}":
        return
    if "/" in program:
        path = folder / program
        if not path.is_file():
            raise InputError(f"there is no program {path}", key="command")
        if not os.access(path, os.X_OK):
            raise InputError(
                f"{program} is not executable; chmod +x it, or name its interpreter first",
                key="command",
            )
    elif not shutil.which(program, path=env.get("PATH")):
        raise InputError(
            f"there is no program {program!r} on the PATH{_list_hint(words)}", key="command"
        )


def _script(params: CommandParams, words: Sequence[str], folder: Path, begin: Path) -> Script:
    """Return what the trial rests on: the files that its command names, and those of `files`."""
    named = named_files(words, folder)
    further = [
        path
        for pattern in _split(params.files, "files")
        for path in matching_files(pattern, folder)
    ]
    return Script(
        name=named[0].name if named else Path(words[0]).name.strip("{}"),
        folder=begin,
        files=digests([*named, *further]),
        timeout_s=params.timeout_s,
    )


def _list_hint(words: Sequence[str]) -> str:
    if len(words) > 1:
        return ""
    return "; a list is an axis of whole commands, the words of one command are one text"


def _nearest(name: str, allowed: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(name, list(allowed), n=1)), "")


COMMAND = CommandPipeline()
