"""Freezes what users write in files and import: whoever changes one changes this list, and says so.

A name that goes away breaks somebody's sweep; a default that changes gives their trials new ids.
"""

import typing

import pytest
from pydantic import BaseModel

import orchestrator
from cluster.backend import BACKENDS
from cluster.job import Cause, State
from orchestrator import RunOptions, Sweep
from pipelines.registry import PIPELINES
from pipelines.transfer.params import METHODS

SWEEP_KEYS = """
name pipeline
models models.name models.source models.digest models.pretrain models.pipeline models.space
tasks tasks.name tasks.source tasks.kind tasks.text tasks.text_pair tasks.image tasks.label
tasks.metric tasks.splits tasks.digest tasks.positive
seeds space metric metric.name metric.mode
train_size validation_size test_size
resources resources.num_cpus resources.num_gpus resources.share_gpus resources.memory_gib
sharing max_concurrent tracking tracking.uri tracking.detail energy energy.region store
"""

EXPORTS = """
FanflareError InvalidSweepError RunOptions Sweep SweepBusyError UnknownNameError plan report run
"""

DATA = "train_size=None validation_size=None test_size=None max_length=128"
LOOP = "batch_size=32 weight_decay=0.01 schedule='linear' max_grad_norm=1.0 patience=None"
FINETUNING = (
    f"{DATA} {LOOP} pooling='mean' head_learning_rate=None epochs=3 warmup_ratio=0.1 "
    "gradient_accumulation_steps=1 precision='auto'"
)
ADAPT = (
    "adapt_corpus=None adapt_size=None adapt_epochs=5 adapt_learning_rate=0.0001 "
    "adapt_batch_size=32 adapt_max_length=128 adapt_mask_ratio=0.15 adapt_seed=0"
)
METHOD_PARAMS = {
    "probe": f"{DATA} {LOOP} method='probe' pooling='mean' learning_rate=0.01 epochs=20 "
    "warmup_ratio=0.0",
    "partial": f"{FINETUNING} method='partial' learning_rate=5e-05 frozen_layers=0.5",
    "full": f"{FINETUNING} method='full' learning_rate=5e-05 layer_decay=1.0",
    "lora": f"{FINETUNING} method='lora' learning_rate=0.001 rank=8 alpha=16 dropout=0.0 "
    "target_modules='attention' frozen_layers=0",
    "scratch": f"{FINETUNING} method='scratch' learning_rate=5e-05",
    "distill": f"{FINETUNING} method='distill' learning_rate=5e-05 layer_decay=1.0 "
    "teacher=PydanticUndefined temperature=2.0 teacher_weight=0.5",
}
for _method in ("probe", "partial", "full", "lora"):
    _params = METHOD_PARAMS[_method].replace("method='", "method='adapt+")
    METHOD_PARAMS[f"adapt+{_method}"] = f"{_params} {ADAPT}"


def models_in(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from models_in(argument)


def keys_of(schema, prefix=""):
    for name, field in schema.model_fields.items():
        yield f"{prefix}{name}"
        for nested in dict.fromkeys(models_in(field.annotation)):
            yield from keys_of(nested, f"{prefix}{name}.")


def test_the_keys_of_a_sweep_file():
    assert sorted(set(keys_of(Sweep))) == sorted(SWEEP_KEYS.split())


def test_every_key_and_every_param_is_described():
    schemas = [Sweep, *METHODS.values()]
    schemas += [m for field in Sweep.model_fields.values() for m in models_in(field.annotation)]
    for schema in schemas:
        for name, field in schema.model_fields.items():
            assert field.description, f"{schema.__name__}.{name}"


def test_the_methods_of_the_transfer_pipeline():
    assert sorted(METHODS) == sorted(METHOD_PARAMS)


@pytest.mark.parametrize("method", METHOD_PARAMS)
def test_the_params_of_a_method_and_their_defaults(method):
    fields = METHODS[method].model_fields
    found = [f"{name}={field.default!r}" for name, field in fields.items()]
    assert sorted(found) == sorted(METHOD_PARAMS[method].split())


def test_what_can_be_imported():
    assert sorted(orchestrator.__all__) == sorted(EXPORTS.split())
    assert all(hasattr(orchestrator, name) for name in orchestrator.__all__)


def test_the_options_of_a_run():
    assert set(RunOptions.__dataclass_fields__) == {
        "backend",
        "store",
        "tracking_uri",
        "cluster",
        "fresh",
        "retry_failed",
        "observer",
    }


def test_the_names_of_backends_and_pipelines():
    assert set(BACKENDS) == {"inline", "ray"}
    assert set(PIPELINES) == {"command", "pretrain", "transfer"}


def test_the_words_for_states_and_causes():
    assert {str(state) for state in State} == {
        "SCHEDULED",
        "RUNNING",
        "FINISHED",
        "FAILED",
        "KILLED",
    }
    assert {str(cause) for cause in Cause} == {
        "bug",
        "command",
        "diverged",
        "input",
        "out of memory",
        "worker died",
        "preempted",
        "store",
        "upstream",
    }
