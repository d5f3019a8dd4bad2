"""A pipeline without a model: its scores depend on params and seed only, its failures on order.

    prepare ---> work ---> evaluate

Every execution of a stage appends a line to a file, so that tests can count what really ran.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.contract import DivergedError, InputError, Node, Stage, StageResult
from pipelines.pipeline import TrialSettings

PREPARE = Stage(
    name="toy/prepare",
    version=1,
    function="tests.toy:prepare",
    typical_s=0.01,
    needs_accelerator=False,
)
WORK = Stage(name="toy/work", version=1, function="tests.toy:work", typical_s=0.01)
EVALUATE = Stage(
    name="toy/evaluate",
    version=1,
    function="tests.toy:evaluate",
    typical_s=0.01,
    needs_accelerator=False,
)

Fault = Literal["", "raise", "diverge", "input", "memory", "full", "exit", "kill", "crash"]


class ToyParams(BaseModel):
    """The params of the toy pipeline."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tag: str = ""
    value: float = 0
    group: int = 0
    sleep_s: float = Field(default=0, ge=0)
    busy_s: float = 0
    until: str = ""
    allocate_mib: int = 0
    fail: Fault = ""
    fail_in: Literal["prepare", "work"] = "work"
    fail_times: int = 1_000_000
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    anything: Any = None


@dataclass(frozen=True)
class ToyPipeline:
    """The toy pipeline; `checked` lets its first stage run before all others, as a check."""

    checked: bool = False
    name: str = "toy"
    takes_models: bool = False
    takes_tasks: bool = False

    def methods(self) -> Mapping[str, type[BaseModel]]:
        return {"": ToyParams}

    def params_schema(self, method: str | None) -> type[BaseModel]:
        return ToyParams

    def metrics(self, task: Any) -> Mapping[str, str]:
        return {"score": "max", "loss": "min"}

    def graph(self, trial: TrialSettings) -> Node:
        params = trial.params.model_dump(mode="json")
        fault = {name: params.pop(name) for name in ("fail", "fail_times")}
        in_prepare = params.pop("fail_in") == "prepare"
        shared = {name: params[name] for name in ("tag", "group")}
        prepared = Node(
            stage=replace(PREPARE, checks_input=self.checked),
            params={**shared, **(fault if in_prepare else {})},
            sources={"data": Data()},
        )
        worked = Node(
            stage=WORK,
            params={**params, **({} if in_prepare else fault), "seed": trial.seed},
            inputs={"prepared": prepared},
        )
        return Node(stage=EVALUATE, params={"tag": params["tag"]}, inputs={"worked": worked})


@dataclass(frozen=True)
class Data:
    """A pinned source."""

    name: str = "data"
    digest: str = "d" * 64


def with_stages(last: Node, prepare: Stage, work: Stage) -> Node:
    """Return the graph of a toy with other stages before the last one."""
    worked = last.inputs["worked"]
    prepared = replace(worked.inputs["prepared"], stage=prepare)
    return replace(
        last, inputs={"worked": replace(worked, stage=work, inputs={"prepared": prepared})}
    )


TOY = ToyPipeline()
CHECKED = ToyPipeline(checked=True)


def prepare(context: Any, members: Any, inputs: Any, sources: Any) -> list[StageResult]:
    """The stage that trials of one group share."""
    (params,) = members
    note("prepare", params)
    fail(params, f"prepare-{params['tag']}-{params['group']}")
    return [StageResult(value={"group": params["group"]})]


def work(context: Any, members: Any, inputs: Any, sources: Any) -> list[StageResult]:
    """The stage of one trial: sleep, wait for a file, fail as asked, or give a score."""
    (params,) = members
    note("work", params)
    sys.stdout.write(f"working on {params['value']:g}, seed {params['seed']}\n")
    block = bytearray(params["allocate_mib"] * 2**20)
    began_s = time.process_time()
    while time.process_time() < began_s + params["busy_s"]:
        pass
    del block
    deadline = time.monotonic() + params["sleep_s"]
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, 0.05))
    _wait_for(params["until"])
    fail(params, f"work-{params['tag']}-{params['value']}-{params['seed']}")
    score = inputs["prepared"].value["group"] + params["value"] + params["seed"] / 100
    return [StageResult(value={"score": score, "curve": [{"step": 1, "loss": -score}]})]


def evaluate(context: Any, members: Any, inputs: Any, sources: Any) -> list[StageResult]:
    """The last stage: the metrics of the trial."""
    note("evaluate", members[0])
    score = inputs["worked"].value["score"]
    metrics = {"validation/score": score, "test/score": score + 1, "validation/loss": -score}
    return [StageResult(value={"metrics": metrics})]


def fail(params: Mapping[str, Any], name: str) -> None:
    """Fail as the params ask, as often as they ask."""
    fault = params.get("fail", "")
    if fault and _count(name) <= params["fail_times"]:
        _FAULTS[fault]()


def _raise(error: BaseException) -> None:
    raise error


def _kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


_FAULTS = {
    "raise": lambda: _raise(ValueError("the toy broke")),
    "diverge": lambda: _raise(DivergedError("the loss is nan")),
    "input": lambda: _raise(InputError("the data has no label", key="space", nearest="label")),
    "memory": lambda: _raise(MemoryError("no room")),
    "full": lambda: _raise(OSError(errno.ENOSPC, "No space left on device")),
    "exit": lambda: sys.exit(3),
    "kill": _kill_this_process,
    "crash": lambda: os._exit(7),
}


def _count(name: str) -> int:
    """Return how often this was called with this name, by any process."""
    marks = folder() / "marks"
    marks.mkdir(parents=True, exist_ok=True)
    with (marks / name).open("ab") as file:
        file.write(b".")
        return file.tell()


def _wait_for(path: str, timeout_s: float = 60) -> None:
    """Wait for a file, so that a test says when a trial ends; return at once for an empty path."""
    deadline = time.monotonic() + timeout_s
    while path and not Path(path).exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def note(stage: str, params: Mapping[str, Any]) -> None:
    """Leave a trace of an execution."""
    folder().mkdir(parents=True, exist_ok=True)
    line = f"{stage} {params.get('value', '')} {params.get('seed', '')} {os.getpid()}\n"
    with (folder() / f"{params['tag']}.log").open("ab", buffering=0) as file:
        file.write(line.encode())


def folder() -> Path:
    """Return where the toy keeps its traces."""
    return Path(os.environ["TOY_FOLDER"])


@dataclass(frozen=True)
class Toy:
    """Makes toy sweeps and tells what they executed."""

    store: Path | str
    tag: str

    def sweep(self, space: Any = None, *, name: str = "toy", **keys: Any) -> dict[str, Any]:
        """Return a sweep, tracking off."""
        spaces = space if isinstance(space, list) else [space or {}]
        return {
            "name": name,
            "pipeline": "tests.toy:TOY",
            "tracking": "off",
            "store": str(self.store),
            "space": [{"tag": self.tag, **mapping} for mapping in spaces],
            **keys,
        }

    def executed(self, stage: str = "work") -> list[str]:
        """Return `VALUE SEED PID` of each execution of a stage, oldest first."""
        path = folder() / f"{self.tag}.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.partition(" ")[2] for line in lines if line.startswith(f"{stage} ")]

    def num_executed(self, stage: str = "work") -> int:
        """Return how often a stage ran."""
        return len(self.executed(stage))
