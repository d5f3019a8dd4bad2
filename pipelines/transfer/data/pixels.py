"""The stage `preprocess`: images to pixels as a model wants them, and batches of these.

Pixels are kept as bytes, a quarter of what single precision takes: 1,000 images of 224 x 224 are
150 MB. What else the model's image processor does, which is linear in each channel, is done a
batch at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from pipelines.contract import Artifact, Context, InputError, Member, StageResult
from pipelines.models.backbone import configuration, warm_image_processor
from pipelines.models.files import ModelFiles, model_files
from pipelines.sources.images import decoded
from pipelines.training.learner import Rows
from pipelines.transfer.data.loading import SPLITS

CPU_BATCH_SIZE = 8
"""Images in one pass on a CPU, whose caches the features of more do not fit; measured with
EfficientNet-Lite0 a pass of 64 took twice as long an image."""
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's mode by a model's number of channels."""


def preprocess(
    context: Context,
    members: Sequence[Member],
    inputs: Mapping[str, Artifact],
    sources: Mapping[str, Any],
) -> list[StageResult]:
    """Return a table a split: `row`, `label` and `pixels`, the bytes of an image.

    The value has the `shape` of an image, `(height, width, channels)`, and by channel the
    `scale` and `shift` that make of its bytes what the model takes.

    Raises:
        InputError: The model's image processor cannot be used.
    """
    examples = inputs["examples"]
    processor = _Processor.of(context, model_files(context, sources, inputs))
    first = decoded(examples.table(SPLITS[0])["image"][0].as_py(), processor.mode)
    prepared = processor.look_at(np.asarray(first))
    value = {
        "labels": examples.value["labels"],
        "task": {name: examples.value[name] for name in ("kind", "num_rows")},
        "shape": prepared.shape,
        "scale": prepared.scale,
        "shift": prepared.shift,
    }
    tables = {split: processor.prepared(examples.table(split), prepared) for split in SPLITS}
    return [StageResult(value=value, tables=tables) for _ in members]


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """What a processor makes of every image: one shape, and a line by channel."""

    shape: list[int]
    scale: list[float]
    shift: list[float]


@dataclass(frozen=True, kw_only=True)
class _Processor:
    """A model's own image processor."""

    name: str
    """Of the model."""
    mode: str
    processor: Any

    @classmethod
    def of(cls, context: Context, files: ModelFiles) -> _Processor:
        """Return the processor that lies in a model's folder.

        Raises:
            InputError: There is none, or it takes images of other channels than are known.
        """
        channels = getattr(configuration(files), "num_channels", 3)
        if channels not in _MODES:
            raise InputError(
                f"model {files.name!r} takes images of {channels} channels; known are "
                "1 (grey), 3 (RGB) and 4 (RGBA)",
                key="models",
            )
        try:
            processor = warm_image_processor(context, files)
        except (OSError, ValueError) as error:
            raise InputError(
                f"model {files.name!r} has no image processor that can be used: {error}",
                key="models",
            ) from error
        return cls(name=files.name, mode=_MODES[channels], processor=processor)

    def look_at(self, image: np.ndarray) -> _Prepared:
        """Find by looking what the processor does beyond the size: to black, and to white.

        Args:
            image: `(height, width, channels)`, uint8, by which what was found is checked.

        Raises:
            InputError: It does more than can be done to each channel of each pixel.
        """
        square = (*self._sized(image).shape[:2], *image.shape[2:])
        black, white = (self._whole(np.full(square, tone, np.uint8)) for tone in (0, 255))
        shift = black.mean(axis=(1, 2))
        scale = (white.mean(axis=(1, 2)) - shift) / 255
        sized = self._sized(image)
        here = sized.transpose(2, 0, 1) * scale[:, None, None] + shift[:, None, None]
        there = self._whole(image)
        if here.shape != there.shape or not np.allclose(here, there, atol=1e-3):
            raise InputError(
                f"the image processor of model {self.name!r}, {type(self.processor).__name__}, "
                "does more than to resize, crop, rescale and normalize",
                key="models",
            )
        return _Prepared(shape=list(sized.shape), scale=scale.tolist(), shift=shift.tolist())

    def prepared(self, table: pa.Table, wanted: _Prepared) -> pa.Table:
        """Return `row`, `label` and `pixels` of the rows of a split."""
        shape = tuple(wanted.shape)
        pixels = np.empty((len(table), *shape), dtype=np.uint8)
        for index, content in enumerate(table["image"]):
            sized = self._sized(np.asarray(decoded(content.as_py(), self.mode)))
            if sized.shape != shape:
                raise InputError(
                    f"the image processor of model {self.name!r} gives images of several sizes: "
                    f"{shape} and {sized.shape}; let its preprocessor_config.json say one",
                    key="models",
                )
            pixels[index] = sized
        size = pixels[0].nbytes
        buffers = [None, pa.py_buffer(pixels)]
        column = pa.Array.from_buffers(pa.binary(size), len(table), buffers)
        return pa.table({"row": table["row"], "label": table["label"], "pixels": column})

    def _whole(self, image: np.ndarray) -> np.ndarray:
        """Return what the model takes of an image, `(channels, height, width)`."""
        whole: np.ndarray = self._processed(image).astype(np.float64)
        return whole

    def _sized(self, image: np.ndarray) -> np.ndarray:
        """Return an image in the model's size, `(height, width, channels)`, uint8."""
        sized = self._processed(image, do_rescale=False, do_normalize=False)
        bytes_: np.ndarray = np.clip(np.rint(sized), 0, 255).astype(np.uint8)
        return bytes_.transpose(1, 2, 0)

    def _processed(self, image: np.ndarray, **options: Any) -> np.ndarray:
        layers = image if image.ndim == 3 else image[:, :, None]
        found = self.processor(
            layers, input_data_format="channels_last", return_tensors="np", **options
        )
        return np.asarray(found["pixel_values"][0])


class PixelBatches:
    """Images of one split as the inputs of a model, a batch at a time.

    Args:
        prepared: The artifact of :func:`preprocess`.
        split: Which of its tables.
        device: Where batches go.
    """

    def __init__(self, prepared: Artifact, split: str, device: str) -> None:
        chunks = prepared.table(split)["pixels"]
        column = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
        shape = (len(column), *prepared.value["shape"])
        start = column.offset * column.type.byte_width
        # A view of the store's file: rows come into memory when they are asked for.
        count = int(np.prod(shape))
        flat = np.frombuffer(column.buffers()[1], np.uint8, count, start)
        self._pixels = flat.reshape(shape)
        self._scale = torch.tensor(prepared.value["scale"], dtype=torch.float32, device=device)
        self._shift = torch.tensor(prepared.value["shift"], dtype=torch.float32, device=device)
        self._device = device

    def __len__(self) -> int:
        return len(self._pixels)

    @property
    def num_outputs(self) -> int:
        """How many things there are to predict: one an image."""
        return len(self)

    def places(self, rows: Rows) -> Rows:
        """Return the numbers of what a batch of rows gives outputs for."""
        return rows

    def batch(self, rows: Rows) -> dict[str, Tensor]:
        """Return `pixel_values`, `(batch, channels, height, width)`, in single precision.

        Channels lie next to each other in memory, which convolutions on a CPU are faster with.
        """
        pixels = torch.from_numpy(self._pixels[rows]).to(self._device)
        return {"pixel_values": (pixels * self._scale + self._shift).permute(0, 3, 1, 2)}

    def keys(self) -> list[bytes]:
        """Return for each row what the model sees of it: equal rows give equal features."""
        return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in self._pixels]

    def by_length(self, batch_size: int, rows: Rows | None = None) -> Iterator[Rows]:
        """Yield some rows, or all, in batches; all images are of one size."""
        rows = np.arange(len(self)) if rows is None else rows
        size = min(batch_size, CPU_BATCH_SIZE) if self._device == "cpu" else batch_size
        for start in range(0, len(rows), size):
            yield rows[start : start + size]
