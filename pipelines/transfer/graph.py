"""The pipeline `transfer`: which stages one trial is made of; imports no torch.

load ----> tokenize ---> encode ---> probe -----> evaluate
inspect -^         `---------------> finetune --^
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from pipelines.contract import InputError, Node, TrialSettings
from pipelines.models.made import given
from pipelines.sources.base import Task, TaskKind
from pipelines.transfer.applicability import check_applies
from pipelines.transfer.metrics import metric_names
from pipelines.transfer.params import METHODS, DataParams
from pipelines.transfer.stages import (
    ENCODE,
    EVALUATE,
    FINETUNE,
    INSPECT,
    LOAD,
    PROBE,
    TOKENIZE,
    WEIGHTS,
)

EXPORTED_KINDS = frozenset(
    {
        TaskKind.CLASSIFICATION,
        TaskKind.PAIR_CLASSIFICATION,
        TaskKind.REGRESSION,
        TaskKind.PAIR_REGRESSION,
    }
)
"""Kinds of task that have one prediction a text, or a pair of texts."""


class TransferPipeline:
    """Every way to transfer a pre-trained model to a downstream task."""

    name = "transfer"
    takes_models = True
    takes_tasks = True
    export_function = "pipelines.transfer.export.exporting:export"

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
        return metric_names(task.kind)

    def graph(self, trial: TrialSettings) -> Node:
        """Return the evaluation node of a trial's graph.

        Raises:
            InputError: The params do not apply to the task.
        """
        params = trial.params.model_dump(mode="json")
        check_applies(trial)
        data = {name: params.pop(name) for name in DataParams.model_fields}
        max_length = data.pop("max_length")
        model = given(trial.model)
        loaded = Node(stage=LOAD, params=data, sources={"task": trial.task})
        inspected = Node(stage=INSPECT, sources=model.sources, inputs=model.inputs)
        prepared = Node(
            stage=TOKENIZE,
            params={"max_length": max_length},
            sources=model.sources,
            inputs={"examples": loaded, "inspected": inspected, **model.inputs},
        )
        if params["method"] == "probe":
            del params["method"]
            features = Node(
                stage=ENCODE,
                params={"pooling": params.pop("pooling")},
                sources=model.sources,
                inputs={"prepared": prepared, **model.inputs},
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
                sources=model.sources,
                inputs={"prepared": prepared, **model.inputs},
            )
        positive = {"positive": trial.task.positive} if trial.task.positive else {}
        return Node(stage=EVALUATE, params=positive, inputs={"predictions": trained})

    def export_node(self, last: Node, *, merge: bool) -> Node:
        """Return the node with a trial's weights: the probe's own, or one that trains again.

        Raises:
            InputError: The task is of a kind that is not exported yet, or an adapter is wanted
                of a method that has none.
        """
        trained = last.inputs["predictions"]
        kind = _task(trained).kind
        if kind not in EXPORTED_KINDS:
            raise InputError(f"tasks of kind {kind} cannot be exported yet", key="kind")
        method = trained.params.get("method", "probe")
        if not merge and method != "lora":
            raise InputError(f"method {method!r} has no adapter to keep apart from the model")
        if trained.stage.name == PROBE.name:
            return trained
        return Node(
            stage=WEIGHTS,
            params=trained.params,
            sources=trained.sources,
            inputs={**trained.inputs, "predictions": trained},
        )


def _task(node: Node) -> Any:
    """Return the task that a node rests on."""
    while "task" not in node.sources:
        node = next(
            node.inputs[role]
            for role in ("features", "prepared", "examples")
            if role in node.inputs
        )
    return node.sources["task"]


TRANSFER = TransferPipeline()
