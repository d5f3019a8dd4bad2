"""The pipeline `pretrain`: which stages one trial is made of; imports no torch.

load ---> tokenizer ---> blocks ---> train ---> evaluate
     `--------------------^ ^
load (train_size) ----------'
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pipelines.catalogue import TASKS
from pipelines.catalogue.benchmarks import BENCHMARKS
from pipelines.contract import InputError, Node, Stage
from pipelines.language.stages import BLOCKS
from pipelines.models.made import MODEL, MadeModel
from pipelines.pipeline import TrialSettings
from pipelines.pretrain.params import OBJECTIVES, PretrainParams
from pipelines.sources import Task, resolve_corpus, resolve_task
from pipelines.sources.facts import ModelFacts
from pipelines.transfer.params import DataParams
from pipelines.transfer.stages import LOAD

TOKENIZER = Stage(
    name="pretrain/tokenizer",
    version=1,
    function="pipelines.pretrain.tokenizer:train_tokenizer",
    typical_s=3.0,
    needs_accelerator=False,
)
TRAIN = Stage(
    name="pretrain/train",
    version=1,
    function="pipelines.pretrain.training:pretrain",
    typical_s=300.0,
)
EVALUATE = Stage(
    name="pretrain/evaluate",
    version=1,
    function="pipelines.pretrain.evaluation:evaluate",
    typical_s=5.0,
)
"""Loss and perplexity on held-out text; for models of other sweeps' tasks nobody asks it."""

SPLITS = ("train", "validation", "test")
METRICS = {"loss": "min", "perplexity": "min", "bits_per_byte": "min"}
"""Of held-out text; those of a masked and of a causal objective are not of one scale."""


class PretrainPipeline:
    """Fresh models trained on unlabelled text."""

    name = "pretrain"
    takes_models = False
    takes_tasks = False
    export_function = "pipelines.pretrain.exporting:export"

    def methods(self) -> Mapping[str, type[BaseModel]]:
        """Return the one schema."""
        return {"": PretrainParams}

    def params_schema(self, method: str | None) -> type[BaseModel]:
        """Return the one schema.

        Raises:
            InputError: A method is named.
        """
        if method is not None:
            raise InputError("pre-training has no methods; leave `method` out", key="method")
        return PretrainParams

    def metrics(self, task: Any) -> Mapping[str, str]:
        """Return the metrics on held-out text."""
        del task
        return METRICS

    def graph(self, trial: TrialSettings) -> Node:
        """Return the evaluation node of a trial's graph.

        Raises:
            InputError: The corpus cannot be had, or the params do not fit each other.
        """
        trained = self._trained(trial)
        return Node(
            stage=EVALUATE,
            inputs={MODEL: trained, **{role: trained.inputs[role] for role in ("blocks", "texts")}},
        )

    def made_model(self, trial: TrialSettings, *, name: str, group: str) -> MadeModel:
        """Return the model that a trial trains.

        Raises:
            InputError: As of :meth:`graph`.
        """
        params = _params_of(trial)
        return MadeModel(
            name=name,
            node=self._trained(trial),
            group=group,
            description=f"{params.architecture} pre-trained on {corpus_name(params.corpus)}",
            facts=_facts(params),
        )

    def export_node(self, last: Node, *, merge: bool) -> Node:
        """Return the node whose artifact is the model.

        Raises:
            InputError: Adapters are wanted, of which there are none.
        """
        if not merge:
            raise InputError("a pre-trained model has no adapter to keep apart")
        return last.inputs[MODEL]

    def _trained(self, trial: TrialSettings) -> Node:
        params = _params_of(trial)
        _check_sizes(params)
        corpus = _corpus(params.corpus, trial.folder)
        given = params.model_dump(mode="json", exclude={"corpus"})
        data = {name: given.pop(name) for name in DataParams.model_fields}
        max_length = data.pop("max_length")
        texts = Node(stage=LOAD, params=data, sources={"task": corpus})
        # The vocabulary does not depend on how much of the corpus is learnt from: else the losses
        # of a learning curve in the amount of data would not be of one scale.
        everything = Node(stage=LOAD, params={**data, "train_size": None}, sources={"task": corpus})
        tokenizer = Node(
            stage=TOKENIZER,
            params={"vocab_size": given.pop("vocab_size")},
            inputs={"texts": everything},
        )
        blocks = Node(
            stage=BLOCKS,
            params={"max_length": max_length, "splits": list(SPLITS)},
            inputs={"examples": texts, MODEL: tokenizer},
        )
        if params.objective == "causal":
            del given["mask_ratio"]
        given |= {
            "model_type": params.architecture,
            "intermediate_size": params.intermediate_size or 4 * params.hidden_size,
            "max_length": max_length,
            "seed": trial.seed,
        }
        inputs = {"tokenizer": tokenizer, "blocks": blocks, "texts": texts}
        return Node(stage=TRAIN, params=given, inputs=inputs)


def _corpus(entry: str | Mapping[str, Any], folder: Path) -> Task:
    """Return the corpus; a task keeps its own splits, so that its test texts are not learnt from.

    Raises:
        InputError: It cannot be had.
    """
    key = "corpus"
    try:
        corpus = resolve_corpus(entry, folder)
        return resolve_task(entry, folder) if _is_task(entry) else corpus
    except InputError as error:
        if not isinstance(entry, str) and error.key:
            key = f"corpus.{error.key}"
        raise InputError(str(error), key=key, nearest=error.nearest) from error


def _is_task(entry: str | Mapping[str, Any]) -> bool:
    known = (*TASKS, *BENCHMARKS)
    if isinstance(entry, str):
        return entry in known
    return entry.get("source", entry.get("name")) in known or entry.get("name") in BENCHMARKS


def corpus_name(corpus: str | Mapping[str, Any]) -> str:
    """Return what an entry for a corpus is called."""
    return corpus if isinstance(corpus, str) else str(corpus.get("name", corpus.get("source", "")))


def _params_of(trial: TrialSettings) -> PretrainParams:
    assert isinstance(trial.params, PretrainParams)
    return trial.params


def _check_sizes(params: PretrainParams) -> None:
    """Hold the sizes of the architecture against each other.

    Raises:
        InputError: They do not fit; the nearest size that does is told.
    """
    width, heads = params.hidden_size, params.num_attention_heads
    each = 2 * heads if params.architecture in ROTARY else heads
    if width % each:
        nearest = max(each, round(width / each) * each)
        even = ", an even number each" if each > heads else ""
        raise InputError(
            f"the features of hidden_size {width} cannot be shared out among {heads} heads{even}; "
            f"it is a multiple of {each}",
            key="hidden_size",
            nearest=str(nearest),
        )
    if params.model_type and OBJECTIVES[params.model_type] != params.objective:
        fitting = [name for name, aim in OBJECTIVES.items() if aim == params.objective]
        raise InputError(
            f"model_type {params.model_type!r} is for the objective "
            f"{OBJECTIVES[params.model_type]!r}; for {params.objective!r} there are "
            f"{', '.join(fitting)}, and a list of mappings keeps both kinds apart",
            key="model_type",
            nearest=fitting[0],
        )


ROTARY = frozenset({"modernbert", "llama"})
"""Architectures that turn pairs of features by their token's position."""


def _facts(params: PretrainParams) -> ModelFacts:
    is_causal = params.objective == "causal"
    return ModelFacts(
        modality="text",
        is_causal=is_causal,
        num_layers=params.num_hidden_layers,
        has_linear_layers=True,
        has_attention=True,
        has_first_token=not is_causal,
        max_length=params.max_length,  # beyond it positions are untrained, even where computed
        can_fill_masks=not is_causal,
        can_generate=is_causal,
    )


PRETRAIN = PretrainPipeline()
