"""The stages of the pipeline `transfer`, declared; what they do is in modules of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from pipelines.contract import Cohort, Stage
from pipelines.labels import Fidelity
from pipelines.transfer.params import LoraParams, PartialParams, ProbeParams, TrainingParams

LOAD = Stage(
    name="transfer/load",
    version=2,
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
        fusable_inputs=frozenset({"features"}),
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


_EPOCHS = frozenset({"epochs"})


def _frozen_layers(function: str, params: type[TrainingParams], *, is_nested: bool) -> Cohort:
    """Return how trials share what they leave frozen below."""
    return Cohort(
        function=function,
        fusable_params=frozenset({*params.model_fields, "seed"} - {"method", "precision"}),
        fusable_inputs=frozenset({"prepared"}),
        nested_params=_EPOCHS if is_nested else frozenset(),
        fidelity=Fidelity.EQUAL,
        shared="one pass of the frozen layers",
        scales=True,
        fixed_cost=0.2,
        member_cost=0.6,
    )


def _read_outs(function: str) -> Cohort:
    """Return how trials that are alike but for `epochs`, and :func:`allows_read_outs`, share."""
    return Cohort(
        function=function,
        fusable_params=_EPOCHS,
        nested_params=_EPOCHS,
        fidelity=Fidelity.EXACT,
        shared="one training, read out after each number of epochs",
        fixed_cost=1.0,
        member_cost=0.05,
    )


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
ADAPTERS = Cohort(
    function="pipelines.transfer.lora_cohort:finetune_together",
    fusable_params=SIDE_BY_SIDE,
    fidelity=Fidelity.EQUAL,
    shared="one copy of the frozen model",
    fixed_cost=0.2,
    member_cost=0.5,
)
"""How trials of the method `lora` share a model that has adapters in all layers. On a CPU that
saves nothing: side by side they lose to padding what they gain. The costs are a guess until an
accelerator's timings are recorded."""
LANGUAGE_MODELING = Stage(
    name="transfer/language-modeling",
    version=2,
    function="pipelines.transfer.language_modeling:finetune_language_model",
    typical_s=120.0,
)
LANGUAGE_MODELING_READ_OUT = replace(
    LANGUAGE_MODELING,
    cohort=_read_outs("pipelines.transfer.language_modeling:finetune_language_model_once"),
)
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
    version=3,
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
    return _finetune_stage(
        params["method"],
        has_frozen_layers=bool(params.get("frozen_layers")),
        is_nested=allows_read_outs(params),
    )


@cache
def _finetune_stage(method: str, *, has_frozen_layers: bool, is_nested: bool) -> Stage:
    if method == "partial":
        function = "pipelines.transfer.boundary_cohort:finetune_together"
        return replace(
            FINETUNE, cohort=_frozen_layers(function, PartialParams, is_nested=is_nested)
        )
    if method == "lora" and has_frozen_layers:
        cohort = _frozen_layers(ADAPTERS.function, LoraParams, is_nested=is_nested)
        return replace(FINETUNE, cohort=cohort)
    return replace(
        FINETUNE,
        cohort=_read_outs("pipelines.transfer.read_out:finetune_once") if is_nested else None,
        cohort_on_accelerator=ADAPTERS if method == "lora" else None,
    )


def language_modeling_stage(params: Mapping[str, Any]) -> Stage:
    """Return the stage that trains a causal model by a method."""
    return LANGUAGE_MODELING_READ_OUT if allows_read_outs(params) else LANGUAGE_MODELING
