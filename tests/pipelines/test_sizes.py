"""The forms of `train_size` and the other sizes: what they take, and what is refused."""

import itertools

import jsonschema
import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator import InvalidSweepError, Sweep, plan
from orchestrator.planning.schema import sweep_schema
from pipelines.command.params import CommandParams
from pipelines.contract import InputError
from pipelines.sources import resolve_task
from pipelines.transfer.data.loading import load
from pipelines.transfer.data.splitting import first_of_each
from pipelines.transfer.params import METHODS, ProbeParams
from tests.pipelines.tiny import save_bert, save_tagged, save_task

FORMS = [[3, 7, 40], [0.05, 0.1, 0.5, 0.999], ["1 per class", "5 per class", "12 per class"]]


def write_reviews(path, labels):
    lines = ["text,label", *(f"review {n},{label}" for n, label in enumerate(labels))]
    path.write_text("\n".join(lines) + "\n")
    return resolve_task(path.name, path.parent)


@pytest.fixture
def task(tmp_path):
    """100 rows; 72 are for training, of the classes a, b and c 36, 22 and 14."""
    return write_reviews(tmp_path / "reviews.csv", "a" * 50 + "b" * 30 + "c" * 20)


def load_one(task, train=None, validation=None, test=None):
    sizes = {"train_size": train, "validation_size": validation, "test_size": test}
    return load(None, [sizes], {}, {"task": task})[0]


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        (1, 1),
        ("1000", 1000),
        (10.0, 10),
        ("1e3", 1000),
        (0.1, 0.1),
        ("0.1", 0.1),
        (1.0, None),
        (None, None),
        ("16 per class", "16 per class"),
        (" 16  per class ", "16 per class"),
    ],
)
def test_one_size_has_one_form_whatever_way_it_is_written(given, canonical):
    for schema in (ProbeParams(train_size=given), Sweep(name="x", train_size=given)):
        size = schema.train_size
        assert (size, type(size)) == (canonical, type(canonical))


@pytest.mark.parametrize("given", [0, -1, 1.5, True, "0 per class", "per class", "many", [8]])
def test_what_is_no_size_is_refused(given):
    for schema in (ProbeParams, lambda **sizes: Sweep(name="x", **sizes)):
        with pytest.raises(ValidationError, match=r"per class|true or false"):
            schema(train_size=given)


@pytest.mark.parametrize("size", ["8 per class", 1.0])
def test_a_validation_is_neither_by_class_nor_all(size):
    with pytest.raises(ValidationError, match="below 1"):
        ProbeParams(validation_size=size)


def test_a_fraction_is_of_the_rows_that_there_are(task):
    assert load_one(task, train=0.25).value["num_rows"] == {
        "train": 18,
        "validation": 8,
        "test": 20,
    }
    halves = load_one(task, train=0.1, validation=0.5, test=0.5)
    assert halves.value["num_rows"] == {"train": 4, "validation": 40, "test": 10}


def test_so_many_per_class_are_the_first_of_every_class(task):
    result = load_one(task, train="5 per class")
    assert result.value["label_counts"]["train"] == {"a": 5, "b": 5, "c": 5}
    everything = load_one(task)
    order = everything.tables["train"]
    for label in range(3):
        rows = order.filter(pc.equal(order["label"], label))["row"].to_pylist()
        taken = result.tables["train"]
        assert [r for r in taken["row"].to_pylist() if r in rows] == rows[:5]
    for split in ("validation", "test"):
        assert result.tables[split].equals(everything.tables[split])


@pytest.mark.parametrize("sizes", FORMS, ids=["count", "fraction", "per class"])
def test_a_smaller_set_is_part_of_a_larger_one_of_its_form(task, sizes):
    sets = [set(load_one(task, train=size).tables["train"]["row"].to_pylist()) for size in sizes]
    assert all(small < large for small, large in itertools.pairwise(sets))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 12))
def test_the_first_of_each_keep_their_order(strata, number):
    strata = np.array(strata)
    order = np.random.default_rng(0).permutation(len(strata))
    taken = first_of_each(order, strata, number)
    places = [list(order).index(row) for row in taken]
    assert places == sorted(places)
    for stratum in np.unique(strata):
        there = [row for row in order if strata[row] == stratum]
        assert [row for row in taken if strata[row] == stratum] == there[:number]


def test_a_class_that_is_too_small_is_named_with_the_number_that_works(task):
    with pytest.raises(InputError, match="'c' has 14 rows") as caught:
        load_one(task, train="15 per class")
    assert (caught.value.key, caught.value.nearest) == ("train_size", "14 per class")
    assert load_one(task, train=caught.value.nearest).value["num_rows"]["train"] == 42


def sweep(folder, task, **more):
    bert = save_bert(folder / "bert")
    return {
        "name": "sizes",
        "models": {"name": "tiny", "source": str(bert)},
        "tasks": [task],
        "tracking": "off",
        **more,
    }


def test_sizes_of_all_forms_are_one_axis_and_other_trials(tmp_path):
    save_task(tmp_path / "task.csv")
    axis = ["8 per class", 0.1, 100, 1.0]
    task = {"name": "mine", "source": str(tmp_path / "task.csv")}
    found = plan(sweep(tmp_path, task, space={"method": "probe", "train_size": axis}))
    assert [trial.params["train_size"] for trial in found.trials] == ["8 per class", 0.1, 100, None]
    assert len({trial.id for trial in found.trials}) == 4


@pytest.mark.parametrize("kind", ["number", "tags"])
def test_tasks_without_classes_refuse_a_number_per_class_in_the_plan(tmp_path, kind):
    if kind == "tags":
        source = save_tagged(tmp_path / "task.jsonl")
        task = {"kind": "token-classification", "text": "words", "label": "tags"}
    else:
        source, task = save_task(tmp_path / "task.csv", kind="number"), {}
    task = {"name": "mine", "source": str(source), **task}
    for place in ({"train_size": "8 per class"}, {}):
        space = {"method": "probe"} | ({} if place else {"train_size": ["8 per class", 20]})
        with pytest.raises(InvalidSweepError, match="rows are of no class") as caught:
            plan(sweep(tmp_path, task, space=space, **place))
        assert caught.value.faults[0].nearest == "8"


def test_the_json_schema_knows_the_forms():
    schema = sweep_schema()["properties"]["train_size"]
    for good in (8, 0.1, 1.0, "16 per class", None):
        jsonschema.validate(good, schema)
    for bad in (0, -0.1, 1.5, "16 a class", True):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)


def fields_of_numbers():
    for schema in (*METHODS.values(), CommandParams, Sweep):
        for name, field in schema.model_fields.items():
            if any(word in str(field.annotation) for word in ("int", "float")):
                yield schema, name


@pytest.mark.parametrize(("schema", "name"), fields_of_numbers(), ids=str)
def test_a_truth_value_is_no_number(schema, name):
    with pytest.raises(ValidationError) as caught:
        schema.model_validate({name: True})
    assert any(error["loc"][0] == name for error in caught.value.errors())


def test_numbers_written_as_text_stay_numbers():
    params = ProbeParams(learning_rate="1e-5", epochs="3", max_length=16.0)
    assert (params.learning_rate, params.epochs, params.max_length) == (1e-5, 3, 16)
