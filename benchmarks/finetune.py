"""Steps per second of `full` fine-tuning, against transformers' Trainer on the same batches.

    python -m benchmarks.finetune [--rows 192] [--repeats 3]

all-MiniLM-L6-v2 on rotten-tomatoes, batch size 32, single precision, one epoch, the same number
of steps on the same rows for all. Three rivals: Trainer with its own dynamic padding, Trainer
with texts padded to the maximum length as in most tutorials, and both from the start of a new
process, which is how trials are usually launched; ours then runs in a worker that is warm.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    default_data_collator,
)
from transformers.utils import logging

from cluster.job import Resources
from orchestrator.running.worker_context import WorkerContext
from pipelines.catalogue import MODELS, TASKS
from pipelines.models.files import model_files
from pipelines.models.token_batches import TokenBatches
from pipelines.sources import fetch
from pipelines.training.loop import train
from pipelines.transfer.data.loading import load
from pipelines.transfer.data.tokenization import tokenize
from pipelines.transfer.examples import PreparedExamples
from pipelines.transfer.finetuning import new_learner
from pipelines.transfer.params import FullParams

MAX_LENGTH = 128
BATCH_SIZE = 32
NUM_THREADS = 2
MODEL = MODELS["all-MiniLM-L6-v2"]


class _Loaded:
    """The result of a stage as the next stage reads it."""

    def __init__(self, result: Any) -> None:
        self.value = result.value
        self._tables = result.tables

    def table(self, name: str) -> Any:
        """Return a table."""
        return self._tables[name]


def examples(num_rows: int, context: WorkerContext) -> tuple[Any, Any]:
    """Return the raw and the tokenised training rows."""
    sizes = {"train_size": num_rows, "validation_size": 32, "test_size": 32}
    (raw,) = load(context, [sizes], {}, {"task": TASKS["rotten-tomatoes"]})
    inputs = {"examples": _Loaded(raw)}
    (tokens,) = tokenize(context, [{"max_length": MAX_LENGTH}], inputs, {"model": MODEL})
    return raw, tokens


def fanflare_side(num_rows: int) -> Callable[[], float]:
    """Return a function that trains once in this warm process and returns the seconds."""
    context = WorkerContext(Resources(num_cpus=NUM_THREADS))
    _, tokens = examples(num_rows, context)
    sets = {
        split: PreparedExamples(
            TokenBatches(tokens.tables[split], tokens.value["pad_id"], "cpu"),
            torch.tensor(tokens.tables[split]["label"].to_numpy(), dtype=torch.int64),
        )
        for split in ("train", "validation")
    }
    params = {**FullParams(epochs=1, batch_size=BATCH_SIZE).model_dump(), "seed": 0}

    def once() -> float:
        started = time.perf_counter()
        learner = new_learner(context, model_files(context, {"model": MODEL}, {}), params, 2)
        train(learner, sets["train"], sets["validation"], params)
        return time.perf_counter() - started

    return once


def trainer_side(num_rows: int, *, padded: bool) -> Callable[[], float]:
    """Return a function that trains once with transformers' Trainer and returns the seconds."""
    context = WorkerContext(Resources(num_cpus=NUM_THREADS))
    raw, _ = examples(num_rows, context)
    folder = fetch(MODEL.source)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    padding = "max_length" if padded else False
    encoded = tokenizer(
        raw.tables["train"]["text"].to_pylist(),
        truncation=True,
        max_length=MAX_LENGTH,
        padding=padding,
    )
    labels = raw.tables["train"]["label"].to_pylist()
    rows = [
        {**{name: values[index] for name, values in encoded.items()}, "labels": label}
        for index, label in enumerate(labels)
    ]

    def once() -> float:
        started = time.perf_counter()
        model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
        with tempfile.TemporaryDirectory() as output:
            arguments = TrainingArguments(
                output_dir=output,
                num_train_epochs=1,
                per_device_train_batch_size=BATCH_SIZE,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                use_cpu=True,
                dataloader_pin_memory=False,
            )
            collator = default_data_collator if padded else DataCollatorWithPadding(tokenizer)
            Trainer(model, arguments, data_collator=collator, train_dataset=rows).train()
        return time.perf_counter() - started

    return once


def in_new_process(num_rows: int, side: str) -> float:
    """Return the seconds of one training by the Trainer, from the start of a new process."""
    code = (
        "from benchmarks.finetune import quiet, trainer_side; quiet(); "
        f"trainer_side({num_rows}, padded={side == 'padded'})()"
    )
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1], capture_output=True
    )
    return time.perf_counter() - started


def quiet() -> None:
    """Keep to the threads that all sides get, and to what this script prints."""
    torch.set_num_threads(NUM_THREADS)
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def main() -> None:
    """Measure in turn and print the ratios of medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=192, help="training rows")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side")
    options = parser.parse_args()
    quiet()
    sides: dict[str, Callable[[], float]] = {
        "fanflare": fanflare_side(options.rows),
        "Trainer, dynamic padding": trainer_side(options.rows, padded=False),
        "Trainer, padded": trainer_side(options.rows, padded=True),
        "Trainer, dynamic padding, new process": lambda: in_new_process(options.rows, "dynamic"),
        "Trainer, padded, new process": lambda: in_new_process(options.rows, "padded"),
    }
    sides["fanflare"]()  # warm, as a worker is
    sides["Trainer, dynamic padding"]()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.repeats):
        for name, once in sides.items():
            seconds[name].append(once())
    ours = statistics.median(seconds["fanflare"])
    steps = -(-options.rows // BATCH_SIZE)
    print(f"{options.rows} rows, {steps} steps of {BATCH_SIZE}, {options.repeats} runs of each")
    for name, values in seconds.items():
        median = statistics.median(values)
        print(
            f"{name:40}{median:7.2f} s ({min(values):.2f} to {max(values):.2f})   "
            f"fanflare is {median / ours:.2f} times as fast"
        )


if __name__ == "__main__":
    main()
