"""Makes the hub's layout of a GGUF file, the format of llama.cpp; knows no model in particular."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def convert(fetched: Path, folder: Path) -> None:
    """Fill a folder as `save_pretrained` of model and tokenizer does, in half precision.

    A number of Q4_1 is one of 16 multiples of a scale above a minimum, both of half precision
    themselves, so that half precision changes no weight by more than a 2,048th.

    Args:
        fetched: The GGUF file.
        folder: An empty folder.
    """
    home, name = fetched.parent, fetched.name
    quantised = AutoModelForCausalLM.from_pretrained(home, gguf_file=name, dtype=torch.float16)
    config = quantised.config
    del config.quantization_config
    # A model of its own, as transformers holds on to what the first was made of.
    plain = type(quantised).from_pretrained(
        None, config=config, state_dict=quantised.state_dict(), dtype=torch.float16
    )
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(home, gguf_file=name).save_pretrained(folder)
