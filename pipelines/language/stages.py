"""The stages that lead from texts to blocks of tokens, declared; any pipeline may use them."""

from __future__ import annotations

from pipelines.contract import Stage

TEXTS = Stage(
    name="language/texts",
    version=1,
    function="pipelines.language.texts:read_corpus",
    typical_s=1.0,
    checks_input=True,
    needs_accelerator=False,
)
"""Source `corpus`, params `validation_size`: tables `train` and `validation` with `text`."""
BLOCKS = Stage(
    name="language/blocks",
    version=1,
    function="pipelines.language.blocking:tokenize_blocks",
    typical_s=2.0,
    needs_accelerator=False,
)
"""A `model`, input `examples`, params `max_length` and `splits`: a table of blocks a split."""
