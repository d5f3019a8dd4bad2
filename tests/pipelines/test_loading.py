"""What stage `transfer/load` promises about splits, to the user and to the other stages."""

import random

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.contract import InputError
from pipelines.sources import resolve_task
from pipelines.transfer.data.loading import load
from pipelines.transfer.data.splitting import make_pools, stratified_order


def write_csv(path, rows, header="text,label"):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def reviews(num_rows, labels=("bad", "good", "mixed")):
    return [(f"review {i}", labels[i % len(labels)]) for i in range(num_rows)]


def sizes(train=None, validation=None, test=None):
    return {"train_size": train, "validation_size": validation, "test_size": test}


def load_one(task, **asked):
    return load(None, [sizes(**asked)], {}, {"task": task})[0]


@pytest.fixture
def task(tmp_path):
    write_csv(tmp_path / "reviews.csv", reviews(100))
    return resolve_task("reviews.csv", tmp_path)


def test_tables_and_value_have_the_promised_form(task):
    result = load_one(task, train=30, validation=6, test=12)
    schema = pa.schema({"row": pa.int64(), "text": pa.string(), "label": pa.int32()})
    assert {name: table.schema for name, table in result.tables.items()} == dict.fromkeys(
        ("train", "validation", "test"), schema
    )
    assert result.value["labels"] == ["bad", "good", "mixed"]
    assert result.value["num_rows"] == {"train": 30, "validation": 6, "test": 12}
    assert result.value["label_counts"]["train"] == {"bad": 10, "good": 10, "mixed": 10}
    assert [entry["split"] for entry in result.value["datasets"]] == ["train", "validation", "test"]
    assert {entry["digest"] for entry in result.value["datasets"]} == {task.digest}


def test_row_points_to_the_source(task):
    table = load_one(task).tables["test"]
    for row, text, label in zip(*table.to_pydict().values(), strict=True):
        assert (text, label) == (f"review {row}", row % 3)


def test_without_sizes_every_row_is_used_once(task):
    tables = load_one(task).tables
    rows = [row for table in tables.values() for row in table["row"].to_pylist()]
    assert sorted(rows) == list(range(100))
    assert {name: len(table) for name, table in tables.items()} == {
        "train": 72,
        "validation": 8,
        "test": 20,
    }


def test_smaller_train_size_is_a_prefix_and_leaves_the_rest_alone(task):
    small, large = load(None, [sizes(10, 6, 12), sizes(40, 6, 12)], {}, {"task": task})
    assert small.tables["train"].equals(large.tables["train"].slice(0, 10))
    assert small.tables["validation"].equals(large.tables["validation"])
    assert small.tables["test"].equals(large.tables["test"])


def test_order_of_rows_in_the_file_does_not_matter(tmp_path):
    rows = reviews(60)
    texts = []
    for seed in (0, 1):
        shuffled = random.Random(seed).sample(rows, len(rows))
        write_csv(tmp_path / f"{seed}.csv", shuffled)
        result = load_one(resolve_task(f"{seed}.csv", tmp_path), train=20)
        texts.append({name: table["text"].to_pylist() for name, table in result.tables.items()})
    assert texts[0] == texts[1]


counts_of_classes = st.lists(st.integers(1, 60), min_size=1, max_size=6).filter(
    lambda counts: sum(counts) >= 5
)


@given(counts_of_classes, st.randoms(use_true_random=False))
def test_every_prefix_of_the_order_is_stratified(counts, rng):
    strata = np.repeat(np.arange(len(counts)), counts)
    hashes = np.array(rng.sample(range(10**9), len(strata)), dtype=np.uint64)
    order = stratified_order(strata, hashes)
    assert sorted(order) == list(range(len(strata)))
    for size in range(len(counts), len(strata) + 1):
        taken = np.bincount(strata[order[:size]], minlength=len(counts))
        assert taken.min() >= 1
        # The guarantee of one row a class moves at most that many rows between classes.
        share = size * np.array(counts) / len(strata)
        assert np.abs(taken - share).max() <= 1 + len(counts) / 2


@given(counts_of_classes, st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_pools_are_disjoint_complete_and_depend_on_content_only(counts, rng):
    strata = np.repeat(np.arange(len(counts)), counts)
    hashes = np.array(rng.sample(range(10**9), len(strata)), dtype=np.uint64)
    splits = np.array(["all"] * len(strata))
    pools = make_pools(splits, strata, hashes)
    assert sorted([*pools.train, *pools.test]) == list(range(len(strata)))
    shuffled = np.array(rng.sample(range(len(strata)), len(strata)))
    again = make_pools(splits, strata[shuffled], hashes[shuffled])
    assert list(shuffled[again.train]) == list(pools.train)
    assert list(shuffled[again.test]) == list(pools.test)


def test_official_splits_are_kept_and_leakage_is_dropped_from_train(tmp_path):
    write_csv(tmp_path / "train.csv", [*reviews(40), ("seen in test", "bad"), ("review 1", "bad")])
    write_csv(
        tmp_path / "test.csv", [*[(f"new {i}", "good") for i in range(9)], ("seen in test", "bad")]
    )
    result = load_one(resolve_task({"name": "mine", "source": str(tmp_path)}, tmp_path))
    assert result.value["num_rows"] == {"train": 36, "validation": 4, "test": 10}
    assert result.value["dropped"] == {"without_text": 0, "without_label": 0, "repeated": 2}
    assert "seen in test" in result.tables["test"]["text"].to_pylist()
    assert "seen in test" not in result.tables["train"]["text"].to_pylist()


def test_texts_that_differ_in_case_or_blanks_only_are_not_held_out_and_trained_on(tmp_path):
    again = [(f"  Review  {n} ", ("good", "bad")[n % 2]) for n in range(40)]
    write_csv(tmp_path / "all.csv", [*reviews(40), *again])
    result = load_one(resolve_task({"name": "mine", "source": "all.csv"}, tmp_path))
    assert result.value["dropped"]["repeated"] == 40
    assert sum(result.value["num_rows"].values()) == 40


def test_official_validation_is_used_as_it_is(tmp_path):
    for split, num_rows in {"train": 30, "dev": 9, "test": 6}.items():
        rows = [(f"{split} {i}", ("a", "b")[i % 2]) for i in range(num_rows)]
        write_csv(tmp_path / f"{split}.csv", rows)
    result = load_one(resolve_task("./", tmp_path))
    assert result.value["num_rows"] == {"train": 30, "validation": 9, "test": 6}
    assert all(text.startswith("dev") for text in result.tables["validation"]["text"].to_pylist())


def test_rows_without_text_or_label_are_dropped_and_counted(tmp_path):
    rows = [*reviews(40), ("  ", "bad"), ("no label", ""), ("", "")]
    write_csv(tmp_path / "reviews.csv", rows)
    result = load_one(resolve_task("reviews.csv", tmp_path))
    assert result.value["dropped"] == {"without_text": 2, "without_label": 1, "repeated": 0}
    assert sum(result.value["num_rows"].values()) == 40


def test_regression_has_float_labels_and_a_range(tmp_path):
    write_csv(tmp_path / "scores.csv", [(f"text {i}", i / 10) for i in range(50)])
    task = resolve_task("scores.csv", tmp_path)
    result = load_one(task, train=20)
    assert task.kind == "regression"
    assert result.value["labels"] is None
    assert result.tables["train"].schema.field("label").type == pa.float64()
    low, high = result.value["label_range"]["train"]
    assert 0 <= low < high <= 4.9


def test_pairs_keep_their_second_text(tmp_path):
    rows = [(f"question {i % 10}", f"answer {i}", i % 2) for i in range(50)]
    write_csv(tmp_path / "pairs.csv", rows, header="q,a,label")
    entry = {"name": "pairs", "source": "./pairs.csv", "text": "q", "text_pair": "a"}
    task = resolve_task(entry, tmp_path)
    table = load_one(task).tables["train"]
    assert task.kind == "pair-classification"
    assert pc.all(pc.starts_with(table["text_pair"], "answer")).as_py()


def fault(task, **asked):
    with pytest.raises(InputError) as caught:
        load_one(task, **asked)
    return caught.value


@pytest.mark.parametrize(
    ("asked", "key", "nearest", "words"),
    [
        ({"train": 95}, "train_size", "72", "95, but there are 72 rows"),
        ({"test": 21}, "test_size", "20", "21, but there are 20 rows"),
        ({"validation": 80}, "validation_size", "79", "80, but there are 79 rows"),
        ({"train": 0}, "train_size", "1", "leaves train empty"),
        ({"train": 2}, "train_size", "3", "smallest train_size that works is 3"),
    ],
)
def test_impossible_sizes_say_what_is_possible(task, asked, key, nearest, words):
    error = fault(task, **asked)
    assert (error.key, error.nearest) == (key, nearest)
    assert words in str(error)


def test_the_smallest_size_that_is_named_works(task):
    assert load_one(task, train=int(fault(task, train=1).nearest)).value["num_rows"]["train"] == 3


def test_one_class_is_nothing_to_learn(tmp_path):
    write_csv(tmp_path / "reviews.csv", [(f"review {i}", "good") for i in range(10)])
    error = fault(resolve_task("reviews.csv", tmp_path))
    assert error.key == "label"
    assert "'good'" in str(error)


def test_class_that_only_test_has_is_named(tmp_path):
    write_csv(tmp_path / "train.csv", reviews(30, ("a", "b")))
    write_csv(tmp_path / "test.csv", [("x", "a"), ("y", "unheard-of")])
    error = fault(resolve_task("./", tmp_path))
    assert "'unheard-of'" in str(error)


def test_unlabelled_official_test_is_refused(tmp_path):
    write_csv(tmp_path / "train.csv", reviews(30))
    write_csv(tmp_path / "test.csv", [("x", ""), ("y", "")])
    error = fault(resolve_task("./", tmp_path))
    assert error.key == "splits"
    assert "test" in str(error)


def test_file_changed_after_planning_is_refused(task, tmp_path):
    write_csv(tmp_path / "reviews.csv", reviews(99))
    assert fault(task).key == "digest"
