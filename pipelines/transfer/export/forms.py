"""What an export is for each kind of task: its class, what goes before it, how it is compared."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoImageProcessor

from pipelines.contract import Artifact, Context, InputError
from pipelines.exports import Agreement
from pipelines.models.backbone import warm_tokenizer
from pipelines.sources import TaskKind
from pipelines.transfer.data.word_tokens import word_tokenizer
from pipelines.transfer.examples import LabelScale
from pipelines.transfer.export import exported
from pipelines.transfer.export.exported import Loading
from pipelines.transfer.export.exported_model import (
    BackboneWithHead,
    PooledImageClassifier,
    PooledImageConfig,
    PooledTextClassifier,
    PooledTextConfig,
    TokenTagger,
    TokenTaggerConfig,
)
from pipelines.transfer.export.trained import Head, TrainedModel
from pipelines.transfer.export.verifying import (
    Artifacts,
    blocks_again,
    images_again,
    texts_again,
    words_again,
)


@dataclass(frozen=True, kw_only=True)
class Form:
    """How trials on a kind of task are written, and compared with what is loaded again."""

    loading: Loading
    build: Callable[[TrainedModel, Artifact], Any]
    """Takes the model and its prepared examples; returns the `PreTrainedModel` to save."""
    save_preprocessing: Callable[[Context, TrainedModel, Path], None]
    """Saves what makes the model's inputs, such that it does what was done in training."""
    reloaded: Callable[[Any, TrainedModel, Artifacts], Agreement]
    """Takes a `transformers.Pipeline`, the model and what it rests on."""


def form_of(kind: TaskKind) -> Form:
    """Return the form of the exports of a kind of task."""
    if kind.is_unlabelled:
        return LANGUAGE
    if kind.has_images:
        return IMAGES
    return WORDS if kind.labels_words else TEXTS


def _text_classifier(trained: TrainedModel, prepared: Artifact) -> BackboneWithHead:
    labels, head = trained.labels, _head(trained)
    scale = LabelScale(prepared.table("train")["label"].to_numpy(), is_regression=labels is None)
    config = PooledTextConfig(
        pooling=head.pooling,
        problem_type="regression" if labels is None else "single_label_classification",
        **_common(trained, labels or ["value"]),
    )
    weight, bias = scale.folded(head.weight, head.bias)
    return _filled(PooledTextClassifier(config), trained, weight, bias)


def _tagger(trained: TrainedModel, prepared: Artifact) -> BackboneWithHead:
    del prepared
    head = _head(trained)
    config = TokenTaggerConfig(**_common(trained, trained.labels or []))
    return _filled(TokenTagger(config), trained, head.weight, head.bias)


def _image_classifier(trained: TrainedModel, prepared: Artifact) -> Any:
    del prepared
    backbone: Any = trained.backbone
    channels = getattr(backbone.config, "num_channels", 3)
    if channels != 3:
        raise InputError(
            f"model {trained.files.name!r} takes images of {channels} channels, and "
            "transformers.pipeline gives 3 to every model; it cannot be exported"
        )
    head = _head(trained)
    config = PooledImageConfig(pooling=head.pooling, **_common(trained, trained.labels or []))
    return _filled(PooledImageClassifier(config), trained, head.weight, head.bias)


def _language_model(trained: TrainedModel, prepared: Artifact) -> Any:
    del prepared
    model: Any = trained.backbone
    model.config._name_or_path = ""  # a folder of this machine
    return model.eval()


def _head(trained: TrainedModel) -> Head:
    assert trained.head is not None, "language models alone have none"
    return trained.head


def _common(trained: TrainedModel, names: list[str]) -> dict[str, Any]:
    backbone: Any = trained.backbone
    inner = backbone.config.to_dict()
    inner.pop("_name_or_path", None)  # a folder of this machine
    inner["dtype"] = "float32"  # as it was trained, whatever it was published in
    return {
        "backbone": inner,
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
    }


def _filled(
    model: BackboneWithHead, trained: TrainedModel, weight: np.ndarray, bias: np.ndarray
) -> BackboneWithHead:
    model.backbone = trained.backbone
    with torch.no_grad():
        model.head.weight.copy_(torch.tensor(weight))
        model.head.bias.copy_(torch.tensor(bias))
    model.eval()
    return model


def _save_text_tokenizer(context: Context, trained: TrainedModel, folder: Path) -> None:
    _save_tokenizer(warm_tokenizer(context, trained.files), trained, folder)


def _save_word_tokenizer(context: Context, trained: TrainedModel, folder: Path) -> None:
    _save_tokenizer(word_tokenizer(context, trained.files), trained, folder)


def _save_plain_tokenizer(context: Context, trained: TrainedModel, folder: Path) -> None:
    warm_tokenizer(context, trained.files).save_pretrained(folder)


def _save_image_processor(context: Context, trained: TrainedModel, folder: Path) -> None:
    del context
    # Pillow's, as in training; another one is not in every installation.
    AutoImageProcessor.from_pretrained(
        trained.files.folder, local_files_only=True, backend="pil"
    ).save_pretrained(folder)


def _save_tokenizer(warm: Any, trained: TrainedModel, folder: Path) -> None:
    """Save a tokenizer such that it cuts and pads as in training."""
    tokenizer = copy.deepcopy(warm)
    tokenizer.model_max_length = trained.prepared.params["max_length"]
    tokenizer.padding_side = "right"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(0)
    tokenizer.save_pretrained(folder)


TEXTS = Form(
    loading=exported.TEXTS,
    build=_text_classifier,
    save_preprocessing=_save_text_tokenizer,
    reloaded=texts_again,
)
WORDS = Form(
    loading=exported.WORDS,
    build=_tagger,
    save_preprocessing=_save_word_tokenizer,
    reloaded=words_again,
)
IMAGES = Form(
    loading=exported.IMAGES,
    build=_image_classifier,
    save_preprocessing=_save_image_processor,
    reloaded=images_again,
)
LANGUAGE = Form(
    loading=exported.LANGUAGE,
    build=_language_model,
    save_preprocessing=_save_plain_tokenizer,
    reloaded=blocks_again,
)
