"""The pipeline `transfer`: which stages one trial is made of; imports no torch.

load ----> tokenize ---> encode ---> probe -----> evaluate
inspect -^         `---------------> finetune --^

Of a task of images `preprocess` takes the place of `tokenize`.

Of a task of language modelling `language/blocks` and `language-modeling` take the places of
`tokenize` and `finetune`. With `adapt+METHOD` what `adapt` makes is the model of the stages after
`tokenize`.

A student's `finetune` has its teacher's `probe`, `finetune` or `teach` as a further input.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from pipelines.contract import InputError, Node
from pipelines.models.made import given
from pipelines.pipeline import TrialSettings
from pipelines.sources.base import Task
from pipelines.transfer.applicability import check_applies
from pipelines.transfer.language import adapted_model, modelling_node, without_adapting
from pipelines.transfer.metrics import metric_names
from pipelines.transfer.params import METHODS, DataParams
from pipelines.transfer.stages import (
    ENCODE,
    EVALUATE,
    INSPECT,
    LOAD,
    PREPROCESS,
    PROBE,
    TOKENIZE,
    WEIGHTS,
    finetune_stage,
)
from pipelines.transfer.teachers import TEACHER, teacher_node


class TransferPipeline:
    """Every way to transfer a pre-trained model to a downstream task."""

    name = "transfer"
    takes_models = True
    takes_tasks = True
    export_function = "pipelines.transfer.export.exporting:export"
    example_scores = "pipelines.transfer.example_scores:example_scores"
    load_function = "pipelines.transfer.export.exported:load"

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
        trained = self._trained(trial)
        positive = {"positive": trial.task.positive} if trial.task.positive else {}
        return Node(stage=EVALUATE, params=positive, inputs={"predictions": trained})

    def _trained(self, trial: TrialSettings) -> Node:
        """Return the node that trains, with predictions as its result."""
        params = trial.params.model_dump(mode="json")
        check_applies(trial)
        data = {name: params.pop(name) for name in DataParams.model_fields}
        max_length = data.pop("max_length")
        base = given(trial.model)  # whose tokens are those of the adapted model too
        model = given(adapted_model(trial, data))
        params = without_adapting(params)
        if params["method"] == "lora" and not params["frozen_layers"]:
            del params["frozen_layers"]  # the digests of trials without it stay what they were
        loaded = Node(stage=LOAD, params=data, sources={"task": trial.task})
        has_images = trial.task.kind.has_images
        inspected = Node(
            stage=INSPECT,
            params={"reads": "images"} if has_images else {},
            sources=base.sources,
            inputs=base.inputs,
        )
        if trial.task.kind.is_unlabelled:
            params |= {"max_length": max_length, "seed": trial.seed}
            return modelling_node(params, loaded, inspected, base, model)
        prepared = Node(
            stage=PREPROCESS if has_images else TOKENIZE,
            params={} if has_images else {"max_length": max_length},
            sources=base.sources,
            inputs={"examples": loaded, "inspected": inspected, **base.inputs},
        )
        if params["method"] == "probe":
            del params["method"]
            features = Node(
                stage=ENCODE,
                params={"pooling": params.pop("pooling")},
                sources=model.sources,
                inputs={"prepared": prepared, **model.inputs},
            )
            return Node(
                stage=PROBE,
                params={**params, "seed": trial.seed},
                inputs={"features": features},
            )
        teacher = {}
        if params.pop(TEACHER, None) is not None:
            teacher[TEACHER] = teacher_node(trial, loaded, self._trained)
        return Node(
            stage=finetune_stage(params),
            params={**params, "seed": trial.seed},
            sources=model.sources,
            inputs={"prepared": prepared, **model.inputs, **teacher},
        )

    def export_node(self, last: Node, *, merge: bool) -> Node:
        """Return the node with a trial's weights: the probe's own, or one that trains again.

        Raises:
            InputError: An adapter is wanted of a method that has none.
        """
        trained = last.inputs["predictions"]
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


TRANSFER = TransferPipeline()
