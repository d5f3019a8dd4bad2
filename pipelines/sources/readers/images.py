"""Images in files of their own, or as rows of numbers; each arrives as the bytes of one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from pipelines.contract import InputError
from pipelines.sources.images import png
from pipelines.sources.readers import Request
from pipelines.sources.readers.columns import read_files
from pipelines.sources.reference import is_image


def read_image_folders(request: Request) -> dict[str, pa.Table]:
    """Read one image a file, its class the folder's name; files that are no images are left out.

    Raises:
        InputError: No file matches.
    """
    return read_files(request, _read_image)


def read_pixel_rows(request: Request) -> dict[str, pa.Table]:
    """Read delimited numbers without a header: the pixels of a grey image a row, then its class.

    Options: `height` and `width` in pixels, and `white`, the number that stands for white where
    0 is black.

    Raises:
        InputError: A row does not have as many numbers, or one is out of range.
    """
    return read_files(request, _read_pixels)


def _read_image(path: Path, request: Request) -> pa.Table:
    there = is_image(path.name)
    columns = {"label": pa.array([path.parent.name] if there else [], pa.string())}
    if "image" in request.columns:
        columns["image"] = pa.array([path.read_bytes()] if there else [], pa.large_binary())
    return pa.table(columns)


def _read_pixels(path: Path, request: Request) -> pa.Table:
    height, width, white = (request.options[name] for name in ("height", "width", "white"))
    with pa.input_stream(str(path), compression="detect") as stream:
        table = csv.read_csv(stream, csv.ReadOptions(autogenerate_column_names=True))
    if table.num_columns != height * width + 1:
        raise InputError(
            f"{path.name} has {table.num_columns} numbers a row; an image of {height} x {width} "
            "pixels and its class have one each",
            key="source",
        )
    values = np.column_stack([column.to_numpy() for column in table.columns])
    pixels, labels = values[:, :-1], values[:, -1].astype(np.int64)
    if pixels.min() < 0 or pixels.max() > white:
        raise InputError(f"{path.name} has pixels outside of 0 to {white}", key="source")
    grey = np.rint(pixels * (255 / white)).astype(np.uint8).reshape(-1, height, width)
    columns = {"label": pa.array(labels.astype(str))}
    if "image" in request.columns:
        columns["image"] = pa.array([png(image) for image in grey], pa.large_binary())
    return pa.table(columns)
