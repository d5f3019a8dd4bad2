"""The pre-trained model on a worker: tokenizer, weights, pooled features, kept warm."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
)

import pipelines.models.efficientnet_lite  # noqa: F401 - AutoModel knows it from here on
from pipelines.contract import Context, InputError
from pipelines.models.files import ModelFiles


def set_up_torch(context: Context) -> None:
    """Keep torch to the cores of this worker, and to single precision where nothing else is asked.

    The same number of cores gives the same sums. Convolutions on an accelerator would round what
    they are given to TF32, which has 10 bits for the 23 of single precision; products of matrices
    do not, unless torch is told so (its notes on CUDA semantics, "TensorFloat-32").
    """
    if torch.get_num_threads() != context.num_cpus:
        torch.set_num_threads(context.num_cpus)
    torch.backends.cudnn.allow_tf32 = False


WORDS = "words"
"""In a batch: which of the tokens, numbered `(batch * length,)`, stand for words."""


def warm_tokenizer(context: Context, files: ModelFiles, **options: Any) -> Any:
    """Return the model's tokenizer, by default as it was saved."""
    return context.cached(
        "/".join(["tokenizer", files.digest, *options]),
        lambda: AutoTokenizer.from_pretrained(files.folder, local_files_only=True, **options),
    )


def warm_image_processor(context: Context, files: ModelFiles) -> Any:
    """Return the model's image processor, in its form that goes by Pillow.

    Pillow does the same on every machine; torchvision would be one more thing to install, in
    just the version that fits torch.
    """
    return context.cached(
        f"image-processor/{files.digest}",
        lambda: AutoImageProcessor.from_pretrained(
            files.folder, local_files_only=True, backend="pil"
        ),
    )


def configuration(files: ModelFiles) -> Any:
    """Return the model's configuration."""
    return AutoConfig.from_pretrained(files.folder, local_files_only=True)


def warm_model(context: Context, files: ModelFiles, auto_class: Any = AutoModel) -> nn.Module:
    """Return the pre-trained model in eval mode; nobody may change its weights.

    Args:
        context: Keeps the model for later stages.
        files: Where it is.
        auto_class: Which of transformers' auto classes gives it a head; `AutoModel` gives none.
    """

    def load() -> nn.Module:
        # What the files lack, as the head of an encoder, is drawn anew: the same each time.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model, report = auto_class.from_pretrained(
                files.folder,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        _check_is_whole(model, report["missing_keys"], files, auto_class)
        return cast(nn.Module, model.to(context.device).eval().requires_grad_(False))

    key = f"{auto_class.__name__}/{files.digest}"
    return cast(nn.Module, context.cached(key, load))


def _check_is_whole(
    model: Any, missing: Collection[str], files: ModelFiles, auto_class: Any
) -> None:
    """Make sure that the files have all weights that a result may rest on.

    What predicts hidden tokens may begin afresh, and poolers are read by classifying heads only.

    Raises:
        InputError: Some are not there, so that they would be random.
    """
    lost = sorted({name for name, _ in model.named_parameters()}.intersection(missing))
    body = "" if model.base_model is model else f"{model.base_model_prefix}."
    has_own_head = auto_class not in (AutoModel, AutoModelForMaskedLM)
    if not has_own_head:
        lost = [name for name in lost if "pooler" not in name.split(".")]
    of_body = [name for name in lost if name.startswith(body)]
    if of_body:
        raise InputError(
            f"the weights of {files.name} lack {len(of_body)} of the model's tensors, as "
            f"{of_body[0]}; they do not fit config.json, or are called otherwise, as after a "
            "wrapper (`module.`, `_orig_mod.`); save the model itself with `save_pretrained`",
            key="models",
        )
    if has_own_head and lost:
        raise InputError(
            f"the weights of {files.name} have no head: {lost[0]} is missing, which would be "
            f"random; save the model with `save_pretrained` of a {type(model).__name__}",
            key="models",
        )


def trainable_copy(context: Context, files: ModelFiles, auto_class: Any = AutoModel) -> nn.Module:
    """Return a copy of the pre-trained model whose weights may be trained."""
    return copy.deepcopy(warm_model(context, files, auto_class)).requires_grad_(True)


def fresh_model(
    context: Context, files: ModelFiles, seed: int, auto_class: Any = AutoModel
) -> nn.Module:
    """Return the same architecture with fresh weights, drawn from a seed."""
    config = AutoConfig.from_pretrained(files.folder, local_files_only=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = auto_class.from_config(config, dtype=torch.float32)
    return cast(nn.Module, model.to(context.device))


def pool(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Reduce token features to one vector a text.

    Args:
        hidden: `(batch, length, width)`.
        mask: `(batch, length)`, 1 where there is a token.
        pooling: `mean`, `cls` (the first token) or `max`.

    Returns:
        `(batch, width)`.
    """
    if pooling == "cls":
        return hidden[:, 0]
    weights = mask.unsqueeze(-1).to(hidden.dtype)  # (batch, length, 1)
    if pooling == "max":
        return hidden.masked_fill(weights == 0, float("-inf")).amax(dim=1)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def pool_map(hidden: Tensor, pooling: str) -> Tensor:
    """Reduce the feature map of a convolutional network to one vector an image.

    Args:
        hidden: `(batch, width, rows, columns)`.
        pooling: `mean` or `max`.

    Returns:
        `(batch, width)`.

    Raises:
        InputError: The pooling is of the first token, of which there is none.
    """
    if pooling == "cls":
        raise InputError(
            "this model gives a map of features, which has no first token; take 'mean' or 'max'",
            key="pooling",
            nearest="mean",
        )
    return hidden.amax(dim=(2, 3)) if pooling == "max" else hidden.mean(dim=(2, 3))


def features_of(backbone: nn.Module, batch: Mapping[str, Tensor], pooling: str) -> Tensor:
    """Return one vector a text or image, or one a word where the batch says which tokens are words.

    Returns:
        `(batch, width)`, or `(words, width)`.
    """
    return pooled(last_hidden(backbone, batch), batch, pooling)


def last_hidden(backbone: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the last layer, `(batch, length, width)`, or a map of an image's features."""
    inputs = {name: tensor for name, tensor in batch.items() if name != WORDS}
    hidden: Tensor = backbone(**inputs).last_hidden_state
    return hidden


def pooled(hidden: Tensor, batch: Mapping[str, Tensor], pooling: str) -> Tensor:
    """Return one vector a text or image, or one a word, of the last layer of a batch.

    Returns:
        `(batch, width)`, or `(words, width)`.
    """
    if WORDS in batch:
        return hidden.flatten(0, 1)[batch[WORDS]]
    if hidden.ndim == 4:
        return pool_map(hidden, pooling)
    mask = batch.get("attention_mask")
    # Of an image all patches count, and the first token where there is one.
    return pool(hidden, hidden.new_ones(hidden.shape[:2]) if mask is None else mask, pooling)
