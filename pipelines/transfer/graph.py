"""The pipeline `transfer`: which stages one trial is made of; imports no torch.

load ----> tokenize ---> encode ---> probe -----> evaluate
inspect -^         `---------------> finetune --^
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from pipelines.contract import InputError, Node, Stage, TrialSettings
from pipelines.sources.base import Task
from pipelines.transfer.metrics import metric_names
from pipelines.transfer.params import METHODS, DataParams

LOAD = Stage(
    name="transfer/load",
    version=1,
    function="pipelines.transfer.loading:load",
    typical_s=1.0,
    checks_input=True,
    needs_accelerator=False,
)
INSPECT = Stage(
    name="transfer/inspect",
    version=1,
    function="pipelines.transfer.inspection:inspect",
    typical_s=1.0,
    checks_input=True,
    needs_accelerator=False,
)
TOKENIZE = Stage(
    name="transfer/tokenize",
    version=1,
    function="pipelines.transfer.tokenization:tokenize",
    typical_s=1.0,
    needs_accelerator=False,
)
ENCODE = Stage(
    name="transfer/encode",
    version=1,
    function="pipelines.transfer.encoding:encode",
    typical_s=15.0,
)
PROBE = Stage(
    name="transfer/probe",
    version=1,
    function="pipelines.transfer.probing:probe",
    typical_s=0.5,
)
FINETUNE = Stage(
    name="transfer/finetune",
    version=1,
    function="pipelines.transfer.finetuning:finetune",
    typical_s=60.0,
)
EVALUATE = Stage(
    name="transfer/evaluate",
    version=1,
    function="pipelines.transfer.evaluation:evaluate",
    typical_s=0.02,
    needs_accelerator=False,
)


class TransferPipeline:
    """Every way to transfer a pre-trained model to a downstream task."""

    name = "transfer"
    takes_models = True
    takes_tasks = True

    def methods(self) -> Mapping[str, type[BaseModel]]:
        """Return the schema of params by method."""
        return METHODS

    def params_schema(self, method: str | None) -> type[BaseModel]:
        """Return the schema of a method's params.

        Raises:
            InputError: No method is named, or there is no such method.
        """
        known = ", ".join(METHODS)
        if method is None:
            raise InputError(f"'method' is required; there are {known}", key="method")
        if method not in METHODS:
            raise InputError(f"unknown method {method!r}; there are {known}", key="method")
        return METHODS[method]

    def metrics(self, task: Task) -> Mapping[str, str]:
        """Return the metrics of a task's kind, each with `max` or `min`."""
        return metric_names(task.kind.is_regression)

    def graph(self, trial: TrialSettings) -> Node:
        """Return the evaluation node of a trial's graph."""
        params = trial.params.model_dump(mode="json")
        data = {name: params.pop(name) for name in DataParams.model_fields}
        max_length = data.pop("max_length")
        sources: dict[str, Any] = {"model": trial.model}
        loaded = Node(stage=LOAD, params=data, sources={"task": trial.task})
        inspected = Node(stage=INSPECT, sources=sources)
        tokens = Node(
            stage=TOKENIZE,
            params={"max_length": max_length},
            sources=sources,
            inputs={"examples": loaded, "model": inspected},
        )
        if params["method"] == "probe":
            del params["method"]
            features = Node(
                stage=ENCODE,
                params={"pooling": params.pop("pooling")},
                sources=sources,
                inputs={"tokens": tokens},
            )
            trained = Node(
                stage=PROBE,
                params={**params, "seed": trial.seed},
                inputs={"features": features},
            )
        else:
            trained = Node(
                stage=FINETUNE,
                params={**params, "seed": trial.seed},
                sources=sources,
                inputs={"tokens": tokens},
            )
        return Node(stage=EVALUATE, inputs={"predictions": trained})


TRANSFER = TransferPipeline()
