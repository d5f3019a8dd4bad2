"""Images as the bytes of a file: from pixels to PNG, and back from any format; knows no tasks."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

_BROKEN = (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError)
"""What Pillow raises for bytes that are no image, or half of one (its documentation)."""


def png(pixels: np.ndarray) -> bytes:
    """Return an image as the bytes of a PNG file, without loss.

    Args:
        pixels: `(height, width)` for grey or `(height, width, 3)` for RGB, uint8.
    """
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def decoded(content: bytes | None, mode: str = "RGB") -> Image.Image | None:
    """Return an image as it should be seen, turned as its EXIF data say; None if it is broken.

    Args:
        content: The bytes of a file in any format that Pillow reads; of several frames the
            first counts.
        mode: Pillow's mode: `RGB`, `RGBA` or `L` (grey).
    """
    if not content:
        return None
    try:
        with Image.open(io.BytesIO(content)) as image:
            upright: Image.Image = ImageOps.exif_transpose(image)
            return _eight_bits(upright).convert(mode)
    except _BROKEN:
        return None


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return an image of 16 bits a pixel with its upper 8, where Pillow would cut off at 255."""
    if not image.mode.startswith("I"):
        return image
    wide = np.asarray(image).astype(np.int64)
    return Image.fromarray(np.clip(wide >> 8, 0, 255).astype(np.uint8))
