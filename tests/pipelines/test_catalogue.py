"""The catalogue promises what its packages really hold."""

import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from transformers import AutoConfig, AutoTokenizer

from pipelines.catalogue import MODELS, TASKS
from pipelines.contract import load_object
from pipelines.models.examination import examine
from pipelines.sources import Origin, fetch, fetch_model, read
from pipelines.sources.cache import sha256_of
from pipelines.sources.readers import READERS
from pipelines.sources.user_tasks import check_metric
from pipelines.transfer.data.loading import load


def test_importing_the_catalogue_loads_nothing_heavy():
    heavy = ("pyarrow", "numpy", "torch", "pandas", "datasets", "huggingface_hub", "transformers")
    program = f"import sys, pipelines.catalogue; print([m for m in {heavy} if m in sys.modules])"
    shown = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert shown.strip() == "[]"


@pytest.mark.parametrize("name", READERS)
def test_every_reader_of_the_table_exists(name):
    assert callable(load_object(READERS[name]))


@pytest.mark.parametrize("pinned", [*MODELS.values(), *TASKS.values()], ids=lambda one: one.name)
def test_every_entry_is_pinned(pinned):
    assert pinned.source.origin in (Origin.PACKAGE, Origin.BUNDLED)
    assert "==" in pinned.source.location
    is_installed = pinned.source.origin is Origin.BUNDLED
    assert len(pinned.source.digest) == 64 or is_installed
    assert pinned.description
    assert not pinned.source.filename.endswith((".so", "linux_x86_64.whl", "macosx.whl"))


def test_there_are_many_tasks_of_several_kinds_and_languages():
    assert len(TASKS) >= 15
    assert len({task.kind for task in TASKS.values()}) >= 3
    assert len({task.language for task in TASKS.values()}) >= 5


@pytest.mark.parametrize("table", [MODELS, TASKS])
def test_no_two_entries_have_the_same_content(table):
    assert len({pinned.digest for pinned in table.values()}) == len(table)


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_task_holds_what_the_catalogue_says(task):
    splits = read(task)
    rows = pa.concat_tables(splits.values())
    if task.kind.labels_words:
        check_words(task, rows)
        return
    if task.kind.is_unlabelled:
        assert rows.schema.names == ["text"]
        assert len(rows) == task.num_rows
        return
    content = "image" if task.kind.has_images else "text"
    columns = [content, "text_pair", "label"] if task.kind.is_pair else [content, "label"]
    assert rows.schema.names == columns
    assert rows.schema.field("label").type == (
        pa.float64() if task.kind.is_regression else pa.string()
    )
    assert len(rows) == task.num_rows
    assert rows[content].null_count == rows["label"].null_count == 0
    if not task.kind.is_regression:
        assert len(rows["label"].unique()) == task.num_classes
    check_metric(task)


def check_words(task, sentences):
    assert sentences.schema.names == ["tokens", "labels"]
    assert len(sentences) == task.num_rows
    tags = pc.list_flatten(sentences["labels"])
    assert len(tags) == len(pc.list_flatten(sentences["tokens"]))
    assert len(tags.unique()) == task.num_classes
    assert tags.null_count == 0
    check_metric(task)


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_task_splits_at_usual_sizes(task):
    wanted = {"train": 500, "validation": 200, "test": 400}
    if task.num_rows < 2000:
        wanted = {"train": 200, "validation": 50, "test": 80}
    sizes = {f"{split}_size": size for split, size in wanted.items()}
    (result,) = load(None, [sizes], {}, {"task": task})
    assert result.value["num_rows"] == wanted
    assert result.value["num_rows"] == {name: len(t) for name, t in result.tables.items()}


def test_model_loads_with_transformers_and_a_second_fetch_is_instant():
    source = MODELS["all-MiniLM-L6-v2"].source
    folder = fetch(source)
    start = time.perf_counter()
    for _ in range(5):
        assert fetch(source) == folder
    fetched = time.perf_counter()
    sha256_of(folder / "model.safetensors")
    assert fetched - start < 5 * (time.perf_counter() - fetched)
    assert AutoConfig.from_pretrained(folder).hidden_size == 384
    assert AutoTokenizer.from_pretrained(folder)("a b")["input_ids"][0] == 101


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda one: one.name)
def test_facts_are_those_that_an_examination_finds(model):
    assert model.facts == examine(fetch_model(model))
