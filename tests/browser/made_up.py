"""A pipeline whose scores are made up, for a sweep with all that a report shows, in seconds.

    share ---> learn

Two models, two tasks, two methods, two sizes, two rates, three seeds; one trial fails.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from pipelines.contract import Node, Stage, StageResult, digest_of
from pipelines.pipeline import TrialSettings

SHARE = Stage(name="made-up/share", version=1, function=f"{__name__}:share", typical_s=0.01)
LEARN = Stage(name="made-up/learn", version=1, function=f"{__name__}:learn", typical_s=0.01)
NUM_STEPS = 12
BROKEN = {"method": "full", "learning_rate": 0.1, "train_size": 50, "seed": 0}
"""The params of the trials that fail, one a task and model."""
MESSAGE = "the made-up loss is not a number"
NUM_TASKS, NUM_CONFIGS_OF_A_TASK = 2, 16


class Params(BaseModel):
    """The params of both methods."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["probe", "full"]
    learning_rate: float
    train_size: int


@dataclass(frozen=True)
class MadeUp:
    """The pipeline."""

    name: str = "made-up"
    takes_models: bool = True
    takes_tasks: bool = True

    def methods(self) -> Mapping[str, type[BaseModel]]:
        return {"probe": Params, "full": Params}

    def params_schema(self, method: str | None) -> type[BaseModel]:
        return Params

    def metrics(self, task: Any) -> Mapping[str, str]:
        return {"accuracy": "max"}

    def graph(self, trial: TrialSettings) -> Node:
        sources = {"model": trial.model, "task": trial.task}
        shared = Node(stage=SHARE, params={}, sources=sources)
        params = {**trial.params.model_dump(), "seed": trial.seed}
        return Node(stage=LEARN, params=params, inputs={"shared": shared})


PIPELINE = MadeUp()


def share(context: Any, members: Any, inputs: Any, sources: Any) -> list[StageResult]:
    """What all trials of a model and a task need."""
    name = sources["task"].name
    rows = {"train": 100, "validation": 20, "test": 30}
    datasets = [
        {"name": name, "digest": "d" * 64, "split": split, "num_rows": n, "source": "made up"}
        for split, n in rows.items()
    ]
    level = 0.6 + 0.1 * (name == "easy") + 0.05 * (sources["model"].name == "large")
    return [StageResult(value={"level": level, "datasets": datasets})]


def learn(
    context: Any, members: Sequence[Any], inputs: Mapping[str, Any], sources: Any
) -> list[StageResult]:
    """A curve and scores that follow from the params, with noise by seed."""
    (params,) = members
    if all(params[name] == value for name, value in BROKEN.items()):
        raise ValueError(MESSAGE)
    draw = random.Random(digest_of(params))
    score = inputs["shared"].value["level"] + draw.gauss(0, 0.005)
    score += 0.08 * (params["method"] == "full") + 0.03 * math.log10(params["train_size"] / 50)
    score -= 0.02 * (params["learning_rate"] == 0.1)
    curve = [
        {"step": step, name: math.exp(-step / 5) + draw.gauss(0.5 - score / 4, 0.01)}
        for step in range(1, NUM_STEPS + 1)
        for name in ("train_loss", "validation_loss")
    ]
    metrics = {"validation/accuracy": score, "test/accuracy": score - draw.uniform(0, 0.02)}
    return [StageResult(value={"metrics": metrics, "curve": curve})]


def write_sweep(folder: Path) -> Path:
    """Write the sweep file, with its models and data beside it."""
    for model in ("small", "large"):
        (folder / model).mkdir()
        for name in ("config.json", "tokenizer.json", "model.safetensors"):
            (folder / model / name).write_text(json.dumps({"model_type": "bert", "name": model}))
    for task, rows in (("easy", ["one,a", "two,b"]), ("hard", ["three,a", "four,b"])):
        (folder / f"{task}.csv").write_text("\n".join(["text,label", *rows]))
    content = {
        "name": "made-up",
        "pipeline": f"{__name__}:PIPELINE",
        "models": [{"name": name, "source": f"./{name}"} for name in ("small", "large")],
        "tasks": [{"name": name, "source": f"./{name}.csv"} for name in ("easy", "hard")],
        "seeds": 3,
        "store": str(folder / "store"),
        "space": {
            "method": ["probe", "full"],
            "learning_rate": [0.01, 0.1],
            "train_size": [50, 100],
        },
    }
    path = folder / "sweep.yaml"
    path.write_text(json.dumps(content, indent=1))
    return path
