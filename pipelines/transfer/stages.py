"""The stages of the pipeline `transfer`, declared; what they do is in modules of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipelines.contract import Cohort, Stage
from pipelines.labels import Fidelity
from pipelines.transfer.params import LoraParams, PartialParams, ProbeParams, TrainingParams

LOAD = Stage(
    name="transfer/load",
    version=1,
    function="pipelines.transfer.data.loading:load",
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
    version=2,
    function="pipelines.transfer.data.tokenization:tokenize",
    typical_s=1.0,
    needs_accelerator=False,
)
PREPROCESS = Stage(
    name="transfer/preprocess",
    version=1,
    function="pipelines.transfer.data.pixels:preprocess",
    typical_s=5.0,
    needs_accelerator=False,
)
ENCODE = Stage(
    name="transfer/encode",
    version=1,
    function="pipelines.transfer.encoding:encode",
    typical_s=15.0,
    scales=True,
    cohort=Cohort(
        function="pipelines.transfer.encoding:encode_together",
        fusable_params=frozenset({"pooling"}),
        fusable_inputs=frozenset({"prepared"}),
        fidelity=Fidelity.EQUAL,
        shared="one pass of the frozen model",
        fixed_cost=1.0,
        member_cost=0.02,
    ),
)
PROBE = Stage(
    name="transfer/probe",
    version=1,
    function="pipelines.transfer.probing:probe",
    typical_s=0.5,
    cohort=Cohort(
        function="pipelines.transfer.probing:probe_together",
        fusable_params=frozenset({*ProbeParams.model_fields, "seed"}),
        fidelity=Fidelity.EQUAL,
        shared="the features, and the steps of all heads in batched tensors",
        fixed_cost=0.1,
        member_cost=0.05,
    ),
)
FINETUNE = Stage(
    name="transfer/finetune",
    version=4,
    function="pipelines.transfer.finetuning:finetune",
    typical_s=60.0,
)


def _above_frozen_layers(function: str, params: type[TrainingParams]) -> Stage:
    """Return the stage of a method whose trials may share what they leave frozen below."""
    return replace(
        FINETUNE,
        cohort=Cohort(
            function=function,
            fusable_params=frozenset({*params.model_fields, "seed"} - {"method", "precision"}),
            fusable_inputs=frozenset({"prepared"}),
            fidelity=Fidelity.EQUAL,
            shared="one pass of the frozen layers",
            fixed_cost=0.2,
            member_cost=0.6,
        ),
    )


def _read_out(stage: Stage, function: str) -> Stage:
    """Return a stage whose trials may be alike but for `epochs`."""
    return replace(
        stage,
        cohort=Cohort(
            function=function,
            fusable_params=frozenset({"epochs"}),
            fidelity=Fidelity.EXACT,
            shared="one training, read out after each number of epochs",
            fixed_cost=1.0,
            member_cost=0.05,
        ),
    )


FINETUNE_PARTLY = _above_frozen_layers(
    "pipelines.transfer.boundary_cohort:finetune_together", PartialParams
)
"""The same for trials of the method `partial`."""
FINETUNE_UPPER_ADAPTERS = _above_frozen_layers(
    "pipelines.transfer.lora_cohort:finetune_together", LoraParams
)
"""The same for trials of the method `lora` that have no adapters in the lowest layers."""
FINETUNE_READ_OUT = _read_out(FINETUNE, "pipelines.transfer.read_out:finetune_once")
"""The same for trials that :func:`allows_read_outs`."""
SIDE_BY_SIDE = frozenset(
    {
        "seed",
        "learning_rate",
        "head_learning_rate",
        "rank",
        "alpha",
        "dropout",
        "weight_decay",
        "schedule",
        "warmup_ratio",
        "max_grad_norm",
        "patience",
        "epochs",
    }
)
"""Params in which trials of the method `lora` may differ that take each step together."""
FINETUNE_ADAPTERS = replace(
    FINETUNE,
    cohort=Cohort(
        function="pipelines.transfer.lora_cohort:finetune_together",
        fusable_params=SIDE_BY_SIDE,
        fidelity=Fidelity.EQUAL,
        shared="one copy of the frozen model",
        accelerator_only=True,
        fixed_cost=0.2,
        member_cost=0.5,
    ),
)
"""The same for other trials of the method `lora`, whose adapters may stand in one model. On a CPU
that saves nothing: side by side they lose to padding what they gain. The costs are a guess until an
accelerator's timings are recorded."""
LANGUAGE_MODELING = Stage(
    name="transfer/language-modeling",
    version=2,
    function="pipelines.transfer.language_modeling:finetune_language_model",
    typical_s=120.0,
)
LANGUAGE_MODELING_READ_OUT = _read_out(
    LANGUAGE_MODELING, "pipelines.transfer.language_modeling:finetune_language_model_once"
)
"""The same for trials of any method that :func:`allows_read_outs`."""
ADAPT = Stage(
    name="transfer/adapt",
    version=1,
    function="pipelines.transfer.adapting:adapt",
    typical_s=120.0,
)
"""Its artifact is a model, which takes the place of the trial's own."""
TEACH = Stage(
    name="transfer/teach",
    version=1,
    function="pipelines.transfer.teaching:teach",
    typical_s=15.0,
)
"""The scores of a saved model on the training rows, for a student."""
WEIGHTS = Stage(
    name="transfer/weights",
    version=1,
    function="pipelines.transfer.export.retraining:retrain",
    typical_s=60.0,
)
"""In no trial's graph: an export asks for it."""
EVALUATE = Stage(
    name="transfer/evaluate",
    version=2,
    function="pipelines.transfer.evaluation:evaluate",
    typical_s=0.02,
    needs_accelerator=False,
)


def allows_read_outs(params: Mapping[str, Any]) -> bool:
    """Return whether a shorter training is the beginning of a longer one, step by step."""
    return (
        params["schedule"] == "constant"
        and params["warmup_ratio"] == 0
        and params["patience"] is None
    )


def finetune_stage(params: Mapping[str, Any]) -> Stage:
    """Return the stage that trains by a method: what may be shared depends on the params."""
    if params["method"] == "partial":
        return FINETUNE_PARTLY
    if params["method"] == "lora":
        return FINETUNE_UPPER_ADAPTERS if params.get("frozen_layers") else FINETUNE_ADAPTERS
    return FINETUNE_READ_OUT if allows_read_outs(params) else FINETUNE


def language_modeling_stage(params: Mapping[str, Any]) -> Stage:
    """Return the stage that trains a causal model by a method."""
    return LANGUAGE_MODELING_READ_OUT if allows_read_outs(params) else LANGUAGE_MODELING
