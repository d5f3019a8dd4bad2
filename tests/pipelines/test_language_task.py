"""Tasks of language modelling on a tiny decoder: from a text file to perplexity."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM

from orchestrator import plan, run
from orchestrator.errors import InvalidSweepError
from orchestrator.running.workspace import open_sweep
from pipelines.contract import InputError
from pipelines.sources import TaskKind, read, resolve_corpus, resolve_task
from pipelines.sources.readers.plain import texts_in
from pipelines.transfer.metrics import compute_language_metrics
from tests.pipelines.tiny import save_tagged, save_task
from tests.pipelines.tiny_language import save_gpt2, save_text

LOOP = {"epochs": 3, "batch_size": 8, "learning_rate": 5e-3, "warmup_ratio": 0.0}
METHODS = [
    {"method": "full", "layer_decay": [1.0, 0.9]},
    {"method": "partial", "frozen_layers": 1},
    {"method": "lora"},
    {"method": "scratch"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    save_gpt2(folder / "gpt2")
    save_text(folder / "corpus.txt")
    return folder


def sweep_of(folder, space, **changes):
    return {
        "name": "language",
        "models": {"name": "tiny-gpt2", "source": str(folder / "gpt2")},
        "tasks": {
            "name": "corpus",
            "source": str(folder / "corpus.txt"),
            "kind": "language-modeling",
        },
        "space": space,
        "tracking": "off",
        **changes,
    }


@pytest.fixture(scope="module")
def swept(folder):
    space = [{**LOOP, "max_length": 16, **method} for method in METHODS]
    sweep, store = sweep_of(folder, space), str(folder / "store")
    return run(sweep, backend="inline", store=store), open_sweep(sweep, store)


def stages_of(workspace, name):
    """Return the artifacts of all stages of a name."""
    digests = [d for d, node in workspace.nodes.items() if node.stage.name == name]
    records = workspace.store.find(digests)
    return [workspace.store.open(records[digest]) for digest in digests]


# Files


def test_blank_lines_separate_texts_and_else_every_line_is_one():
    assert texts_in("\n\na b\nc\n\n \nd\n\n") == ["a b\nc", "d"]
    assert texts_in("a b\nc\n\n") == ["a b", "c"]
    assert texts_in(" \n") == []


def corpus_at(path, **entry):
    return {"name": "mine", "source": str(path), "kind": "language-modeling", **entry}


def test_a_text_file_is_a_task_without_labels(folder):
    task = resolve_task(corpus_at(folder / "corpus.txt"), folder)
    assert (task.kind, task.metric, task.num_rows) == (
        TaskKind.LANGUAGE_MODELING,
        "perplexity",
        160,
    )
    assert read(task)["all"].column_names == ["text"]


@pytest.mark.parametrize("names", [["train.txt", "validation.txt", "test.txt"], ["a.txt", "b.txt"]])
def test_a_folder_of_text_files_has_its_official_splits(names, tmp_path):
    for name in names:
        save_text(tmp_path / name, num=10)
    (tmp_path / "notes").write_text("x")
    task = resolve_task(corpus_at(tmp_path), tmp_path)
    splits = {"train": 10, "validation": 10, "test": 10} if "train.txt" in names else {"all": 20}
    assert {split: len(table) for split, table in read(task).items()} == splits


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_texts_come_from_a_column_and_need_no_label(suffix, tmp_path):
    path = tmp_path / f"texts.{suffix}"
    table = pa.table({"body": ["one text", "another, text"], "date": ["1999", "2000"]})
    if suffix == "csv":
        pacsv.write_csv(table, path)
    elif suffix == "parquet":
        pq.write_table(table, path)
    else:
        path.write_text("\n".join(json.dumps(row) for row in table.to_pylist()))
    task = resolve_task(corpus_at(path, text="body"), tmp_path)
    assert read(task)["all"]["text"].to_pylist() == ["one text", "another, text"]
    with pytest.raises(InputError, match="'body'"):
        resolve_task(corpus_at(path), tmp_path)


def test_a_label_or_an_accuracy_makes_no_sense_without_labels(folder):
    with pytest.raises(InputError, match="leave label out"):
        resolve_task(corpus_at(folder / "corpus.txt", label="x"), folder)
    with pytest.raises(InputError, match="allowed are perplexity, loss"):
        resolve_task(corpus_at(folder / "corpus.txt", metric="accuracy"), folder)


def test_a_text_file_is_of_no_other_kind(folder):
    with pytest.raises(InputError, match="suffixes that are known"):
        resolve_task(str(folder / "corpus.txt"), folder)


def test_an_empty_text_file_is_a_fault(tmp_path):
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(InputError, match="holds no text"):
        resolve_task(corpus_at(tmp_path / "empty.txt"), tmp_path)


def test_any_source_of_text_is_a_corpus(folder, tmp_path):
    plain = resolve_corpus(str(folder / "corpus.txt"), folder)
    assert plain.digest == resolve_task(corpus_at(folder / "corpus.txt"), folder).digest
    column = resolve_corpus({"source": str(save_task(tmp_path / "a.csv")), "text": "text"}, folder)
    tagged = {"source": str(save_tagged(tmp_path / "t.jsonl")), "text": "words"}
    assert len(read(column)["all"]) == 160
    with pytest.raises(InputError):
        resolve_corpus({**tagged, "text": "word"}, folder)


def test_a_task_of_the_catalogue_is_a_corpus_of_its_texts():
    corpus = resolve_corpus("rotten-tomatoes", Path())
    assert corpus.kind is TaskKind.LANGUAGE_MODELING
    assert corpus.digest != resolve_task("rotten-tomatoes", Path()).digest


# Metrics


def test_perplexity_is_the_exponential_of_the_mean_loss_of_a_token():
    losses, counts = np.array([2.0, 7.0]), np.array([1, 2])
    values = compute_language_metrics(losses, counts)
    assert values == {"loss": 3.0, "perplexity": pytest.approx(math.exp(3))}
    assert math.isfinite(compute_language_metrics(losses * 1e6, counts)["perplexity"])


# Training


def test_every_method_finishes_and_the_lowest_perplexity_ranks_first(swept):
    report, _ = swept
    assert report.counts == {"FINISHED": 5}
    rows = report.leaderboard.tasks["corpus"]
    assert {row.method for row in rows} == {"full", "partial", "lora", "scratch"}
    means = [row.scores["validation"].mean for row in rows]
    assert means == sorted(means)
    assert {row.metric for row in rows} == {"perplexity"}


def test_training_lowers_perplexity_below_that_of_the_untouched_model(swept):
    _, workspace = swept
    for made in stages_of(workspace, "transfer/language-modeling"):
        losses = [p["validation_loss"] for p in made.value["curve"] if "validation_loss" in p]
        assert made.value["curve"][0]["step"] == 0
        assert losses[0] == pytest.approx(math.log(29), abs=0.2)
        assert losses[-1] < losses[0]


def test_predictions_have_the_loss_of_every_block_as_transformers_computes_it(swept, folder):
    _, workspace = swept
    blocks = stages_of(workspace, "language/blocks")[0]
    expected = 0
    model = AutoModelForCausalLM.from_pretrained(folder / "gpt2").eval()
    lists = blocks.table("validation")["input_ids"].to_pylist()
    for ids in lists:
        row = torch.tensor([ids])
        expected += model(input_ids=row, labels=row).loss.item() * (len(ids) - 1)
    made = stages_of(workspace, "transfer/language-modeling")[0]
    untouched = made.value["curve"][0]["validation_loss"]
    assert untouched == pytest.approx(expected / sum(len(ids) - 1 for ids in lists), rel=1e-5)
    table = made.table("predictions")
    assert table.column_names == ["split", "row", "num_tokens", "nll"]
    assert table["num_tokens"].to_pylist()[: len(lists)] == [len(ids) - 1 for ids in lists]


def test_frozen_layers_and_what_lies_below_keep_their_weights(swept):
    _, workspace = swept
    counts = {
        made.value["num_trained_weights"]: made.value["num_weights"]
        for made in stages_of(workspace, "transfer/language-modeling")
    }
    assert len(counts) == 3  # full and scratch train all


def test_blocks_are_made_once_for_all_methods(swept):
    _, workspace = swept
    assert len(stages_of(workspace, "language/blocks")) == 1


# What does not apply


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({"method": "probe"}, "space.method"),
        ({"method": "full", "pooling": "max"}, "space.pooling"),
        ({"method": "full", "head_learning_rate": 0.1}, "space.head_learning_rate"),
        ({"method": "full", "max_length": 129}, "space.max_length"),
    ],
)
def test_what_does_not_apply_is_a_fault_of_the_plan(folder, tmp_path, params, key):
    with pytest.raises(InvalidSweepError) as caught:
        plan(sweep_of(folder, {"max_length": 16, **params}), store=str(tmp_path))
    assert [fault.key for fault in caught.value.faults] == [key]
