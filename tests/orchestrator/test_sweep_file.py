"""What a user is told of a sweep that is not right: all of it, where, and what would be right."""

import math
import re
from pathlib import Path

import pytest

from cluster.job import Resources
from orchestrator import FanflareError, InvalidSweepError, Sweep, UnknownNameError, plan
from orchestrator.planning.grid import expand, parse
from orchestrator.planning.sweep_file import SweepFile
from orchestrator.running.workspace import check_capacity, open_sweep

TOY = """\
name: toy
pipeline: "tests.toy:TOY"
tracking: off
seeds: 2
space:
  value: [1, 2]
"""
TRANSFER = """\
name: real
models: all-MiniLM-L6-v2
tasks: [rotten-tomatoes, bbc-news]
seeds: 2
space:
  method: probe
  learning_rate: [0.1, 0.2]
"""


def write(folder, text):
    path = folder / "sweep.yaml"
    path.write_text(text)
    return path


def faults(folder, text):
    """Return the faults of a sweep file, after a look at the message that a user reads."""
    with pytest.raises(InvalidSweepError) as caught:
        open_sweep(write(folder, text), str(folder / "store"))
    message = str(caught.value)
    assert message.startswith(str(folder / "sweep.yaml"))
    assert len(message.splitlines()) <= 24, "more than one screen"
    assert all(len(line) <= 600 for line in message.splitlines())
    assert "Traceback" not in message
    assert "pydantic" not in message
    return caught.value.faults


def points(folder, text):
    return expand(parse(SweepFile.read(write(folder, text))), SweepFile.read(write(folder, text)))


def edit(text, old, new):
    assert old in text
    return text.replace(old, new)


MISSPELT = {
    "key": (TOY, "seeds: 2", "seed: 2", 4, "seed", "seeds"),
    "nested key": (TOY, "tracking: off", "tracking: {url: x}", 3, "tracking.url", "uri"),
    "param": (TOY, "value: [1, 2]", "valeu: [1, 2]", 6, "space.valeu", "value"),
    "word": (TOY, "value: [1, 2]", "schedule: cosin", 6, "space.schedule", "cosine"),
    "first word": (TOY, "value: [1, 2]", "schedule: linnear", 6, "space.schedule", "linear"),
    "pipeline": (TRANSFER, "models:", "pipeline: transfr\nmodels:", 2, "pipeline", "transfer"),
    "model": (TRANSFER, "all-MiniLM-L6-v2", "all-MiniLM-L6", 2, "models", "all-MiniLM-L6-v2"),
    "task": (TRANSFER, "bbc-news", "bbc-new", 3, "tasks[1]", "bbc-news"),
    "method": (TRANSFER, "probe", "prob", 6, "space.method", "probe"),
    "param of a method": (
        TRANSFER, "learning_rate", "learning_rat", 7, "space.learning_rat", "learning_rate",
    ),
    "metric": (
        TRANSFER, "seeds: 2", "metric: {name: acuracy}", 4, "metric.name", "accuracy",
    ),
    "narrowing": (
        TRANSFER, "method: probe", "method: probe\n  tasks: bbc-nws", 7, "space.tasks", "bbc-news",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MISSPELT)
def test_a_misspelt_name_is_told_with_its_line_and_the_nearest_one(tmp_path, case):
    text, old, new, line, key, nearest = MISSPELT[case]
    found = faults(tmp_path, edit(text, old, new))
    assert {(fault.line, fault.key, fault.nearest) for fault in found} == {(line, key, nearest)}
    assert f"did you mean {nearest!r}?" in str(found[0])


WRONG = {
    "name with a slash": ("name: toy", "name: a/b", 1, "name", "letters, digits"),
    "name that is a number": ("name: toy", "name: 7", 1, "name", "string"),
    "no name": ("name: toy\n", "", None, "name", "required"),
    "seeds in words": ("seeds: 2", "seeds: five", 4, "seeds", "integer"),
    "no seeds": ("seeds: 2", "seeds: 0", 4, "seeds", "greater than or equal to 1"),
    "negative seeds": ("seeds: 2", "seeds: -3", 4, "seeds", "greater than or equal to 1"),
    "a negative seed": ("seeds: 2", "seeds: [0, -1]", 4, "seeds[1]", "greater than or equal to 0"),
    "a seed twice": ("seeds: 2", "seeds: [3, 4, 3]", 4, "seeds", "seed 3 stands there twice"),
    "empty seeds": ("seeds: 2", "seeds: []", 4, "seeds", "the list is empty"),
    "seeds as a mapping": ("seeds: 2", "seeds: {a: 1}", 4, "seeds", "integer"),
    "true for seeds": ("seeds: 2", "seeds: true", 4, "seeds", "true or false"),
    "space as a word": ("space:\n  value: [1, 2]", "space: all", 5, "space", "dictionary"),
    "empty space": ("space:\n  value: [1, 2]", "space: []", 5, "space", "the list is empty"),
    "space of words": ("space:\n  value: [1, 2]", "space: [a]", 5, "space[0]", "dictionary"),
    "empty axis": ("[1, 2]", "[]", 6, "space.value", "the axis is empty"),
    "a value twice": ("[1, 2]", "[1, 2, 1.0]", 6, "space.value", "1.0 stands on the axis twice"),
    "a word as a number": ("[1, 2]", "[1, abc]", 6, "space.value", "'abc'"),
    "no number": ("[1, 2]", "[1, .nan]", 6, "space.value", "not a finite number"),
    "infinity": ("[1, 2]", ".inf", 6, "space.value", "not a finite number"),
    "out of bounds": ("value: [1, 2]", "sleep_s: -1", 6, "space.sleep_s", "greater than or equal"),
    "a method where there is none": ("value: [1, 2]", "method: x", 6, "space.method", "unknown"),
    "a list as a method": ("value: [1, 2]", "method: [[x]]", 6, "space.method", "is a name"),
    "a negative size": ("seeds: 2", "train_size: -5", 4, "train_size", "a number of rows"),
    "a size without a param": ("seeds: 2", "train_size: 5", 4, "train_size", "no param"),
    "tracking as a word": ("tracking: off", "tracking: mlflow", 3, "tracking", "'off'"),
    "mode": ("seeds: 2", "metric: {name: score, mode: up}", 4, "metric.mode", "'max' or 'min'"),
    "a pipeline that is not there": ("tests.toy:TOY", "tests.no:TOY", 2, "pipeline", "tests.no"),
    "a pipeline without its name": ("tests.toy:TOY", "tests.toy:T", 2, "pipeline", "cannot load"),
    "models for none": ("seeds: 2", "models: x", 4, "models", "takes none"),
    "no cores": ("seeds: 2", "resources: {num_cpus: 0}", 4, "resources.num_cpus", "greater than 0"),
    "narrowed seeds": ("[1, 2]", "1\n  seeds: [0, 5]", 7, "space.seeds", "not a part"),
    "too many narrowed seeds": ("[1, 2]", "1\n  seeds: 3", 7, "space.seeds", "3 of 2 seeds"),
    "nested narrowed seeds": ("[1, 2]", "1\n  seeds: [[0]]", 7, "space.seeds", "not a part"),
    "narrowing to no seed": ("[1, 2]", "1\n  seeds: []", 7, "space.seeds", "not a part"),
    "narrowing to a mapping": ("[1, 2]", "1\n  tasks: [{name: x}]", 7, "space.tasks", "not among"),
    "narrowing to nothing": ("[1, 2]", "1\n  tasks: []", 7, "space.tasks", "empty"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_value_is_told_with_its_line_and_key(tmp_path, case):
    old, new, line, key, said = WRONG[case]
    found = faults(tmp_path, edit(TOY, old, new))
    assert [(fault.line, fault.key) for fault in found] == [(line, key)]
    assert said in found[0].message


def test_a_missing_method_names_those_that_there_are(tmp_path):
    (fault,) = faults(tmp_path, edit(TRANSFER, "  method: probe\n", ""))
    assert "'method' is required" in fault.message
    assert "probe" in fault.message
    assert "full" in fault.message
    assert fault.line == 5


def test_a_param_of_another_method_is_told_with_the_method(tmp_path):
    (fault,) = faults(tmp_path, edit(TRANSFER, "learning_rate", "head_learning_rate"))
    assert "param of method 'probe'" in fault.message
    assert fault.key == "space.head_learning_rate"


def test_a_task_twice_is_told(tmp_path):
    (fault,) = faults(tmp_path, edit(TRANSFER, "bbc-news]", "rotten-tomatoes]"))
    assert (fault.line, fault.key) == (3, "tasks[1]")
    assert "twice" in fault.message


def test_all_faults_are_told_at_once_in_the_order_of_the_file(tmp_path):
    text = """\
name: real
models: all-MiniLM-L6
tasks:
  - rotten-tomatoes
  - bbc-new
seeds: [1, 1]
space:
  - method: probe
    lerning_rate: 0.1
  - method: ful
"""
    found = faults(tmp_path, text)
    assert [(fault.line, fault.key) for fault in found] == [
        (2, "models"),
        (5, "tasks[1]"),
        (6, "seeds"),
        (9, "space[0].lerning_rate"),
        (10, "space[1].method"),
    ]
    with pytest.raises(InvalidSweepError, match="has 5 faults"):
        open_sweep(tmp_path / "sweep.yaml")


def test_all_faults_of_keys_and_types_are_told_at_once(tmp_path):
    text = "name: a b\nsedes: 3\nmax_concurrent: none\nspace: 7\n"
    assert [fault.line for fault in faults(tmp_path, text)] == [1, 2, 3, 4]


def test_a_fault_of_one_axis_value_is_told_once_whatever_the_size_of_the_grid(tmp_path):
    text = edit(TOY, "value: [1, 2]", "value: [1, 2, 3, 4, 5]\n  group: [1, 2, x]")
    assert [fault.key for fault in faults(tmp_path, text)] == ["space.group"]


def test_many_faults_are_cut_to_a_screen(tmp_path):
    values = ", ".join(f"word{number}" for number in range(100))
    assert len(faults(tmp_path, edit(TOY, "[1, 2]", f"[{values}]"))) == 100
    with pytest.raises(InvalidSweepError, match="and 80 more"):
        open_sweep(tmp_path / "sweep.yaml")


def test_a_long_value_is_cut(tmp_path):
    (fault,) = faults(tmp_path, edit(TOY, "seeds: 2", f"seeds: {'x' * 5000}"))
    assert len(str(fault)) < 300


NOT_A_SWEEP = {
    "a list": ("- name: toy\n", 1, "a sweep is a mapping"),
    "a word": ("hello\n", 1, "a sweep is a mapping"),
    "nothing": ("", 1, "a sweep is a mapping"),
    "tabs": ("name: toy\nspace:\n\tvalue: 1\n", 3, "not YAML"),
    "an open bracket": ("name: toy\nseeds: [1, 2\n", 3, "not YAML"),
    "a key twice": ("name: toy\nseeds: 1\nseeds: 2\n", 3, "duplicate key"),
    "two documents": ("name: toy\n---\nname: toy\n", 2, "not YAML"),
    "an unknown anchor": ("name: toy\nseeds: *many\n", 2, "alias"),
    "a deep nest": (f"name: {'[' * 600}{']' * 600}", None, "nested too deep"),
    "binary": ("name: \x00\x01\n", None, "not YAML"),
}


@pytest.mark.parametrize("case", NOT_A_SWEEP)
def test_what_is_not_a_sweep_is_told(tmp_path, case):
    text, line, said = NOT_A_SWEEP[case]
    (fault,) = faults(tmp_path, text)
    assert said in fault.message
    assert fault.line == line


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InvalidSweepError, match="No such file"):
        plan(tmp_path / "nothing.yaml")


def test_a_folder_or_bytes_are_no_sweep_file(tmp_path):
    folder = tmp_path / "sweep.yaml"
    folder.mkdir()
    with pytest.raises(InvalidSweepError, match="cannot be read"):
        plan(folder)
    (tmp_path / "latin.yaml").write_bytes("name: é".encode("latin-1"))
    with pytest.raises(InvalidSweepError, match="cannot be read"):
        plan(tmp_path / "latin.yaml")


@pytest.mark.parametrize("store", [None, "nosuch://store"])
def test_a_name_that_no_store_knows_is_told(tmp_path, monkeypatch, store):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownNameError, match="--store"):
        plan("never-run", store=store)


def test_a_store_that_is_none_is_told_at_its_line(tmp_path):
    text = TOY + "store: nosuch://bucket\n"
    with pytest.raises(InvalidSweepError) as caught:
        open_sweep(write(tmp_path, text))
    (fault,) = caught.value.faults
    assert (fault.line, fault.key) == (7, "store")


def test_every_fault_is_the_kind_of_error_that_the_command_line_shows():
    assert issubclass(InvalidSweepError, FanflareError)
    assert issubclass(UnknownNameError, FanflareError)


def test_numbers_are_read_as_people_write_them(tmp_path):
    text = edit(TOY, "[1, 2]", "[1e-5, 1.5e3, 0x10, 1_000]")
    values = [point.params["value"] for point in points(tmp_path, text) if point.seed == 0]
    assert values == [1e-5, 1500.0, 16.0, 1000.0]
    assert all(isinstance(value, float) for value in values)


def test_no_and_off_stay_words(tmp_path):
    text = edit(TOY, "value: [1, 2]", "anything: [no, off, yes, 'null']")
    values = [point.params["anything"] for point in points(tmp_path, text) if point.seed == 0]
    assert values == ["no", "off", "yes", "null"]


def test_a_date_on_an_axis_is_not_a_crash(tmp_path):
    text = edit(TOY, "value: [1, 2]", "anything: [2020-01-01, 2020-01-02]")
    values = {point.params["anything"] for point in points(tmp_path, text)}
    assert values == {"2020-01-01", "2020-01-02"}


def test_anchors_and_merge_keys_work(tmp_path):
    text = """\
name: toy
pipeline: "tests.toy:TOY"
tracking: off
space:
  - &base
    value: 1
    group: [1, 2]
  - <<: *base
    value: 3
"""
    assert sorted((p.params["value"], p.params["group"]) for p in points(tmp_path, text)) == [
        (1, 1), (1, 2), (3, 1), (3, 2),
    ]  # fmt: skip


def test_a_fault_in_a_merged_key_is_told_where_it_was_merged(tmp_path):
    text = """\
name: toy
pipeline: "tests.toy:TOY"
tracking: off
space:
  - &base
    valeu: 1
  - <<: *base
    group: 3
"""
    found = faults(tmp_path, text)
    assert [(fault.line, fault.key) for fault in found] == [
        (6, "space[0].valeu"), (7, "space[1].valeu"),
    ]  # fmt: skip


def test_seeds_are_a_count_or_a_list(tmp_path):
    assert {p.seed for p in points(tmp_path, edit(TOY, "seeds: 2", "seeds: 3"))} == {0, 1, 2}
    assert {p.seed for p in points(tmp_path, edit(TOY, "seeds: 2", "seeds: [7, 3]"))} == {7, 3}


def test_a_mapping_of_the_space_may_narrow_the_sweep(tmp_path):
    text = edit(TOY, "seeds: 2\nspace:\n  value: [1, 2]", """\
seeds: 4
space:
  - value: 1
  - value: 2
    seeds: 1
  - value: 3
    seeds: [1.0, 3]""")  # fmt: skip
    found = points(tmp_path, text)
    by_value = {v: [p.seed for p in found if p.params["value"] == v] for v in (1, 2, 3)}
    assert by_value == {1: [0, 1, 2, 3], 2: [0], 3: [1, 3]}
    assert all(type(point.seed) is int for point in found)


def test_more_than_the_machine_has_is_told_before_anything_runs(tmp_path):
    text = TOY + "resources:\n  num_cpus: 5000\n  num_gpus: 99\n  memory_gib: 1e9\n"
    with pytest.raises(InvalidSweepError) as caught:
        plan(write(tmp_path, text), store=str(tmp_path / "store"))
    assert [(fault.line, fault.key) for fault in caught.value.faults] == [
        (8, "resources.num_cpus"), (9, "resources.num_gpus"), (10, "resources.memory_gib"),
    ]  # fmt: skip
    assert re.search(r"5000 asked for, there are \d+", str(caught.value))
    assert not (tmp_path / "store").exists()


def test_what_fits_the_machine_is_no_fault(tmp_path):
    workspace = open_sweep(write(tmp_path, TOY), str(tmp_path / "store"))
    check_capacity(workspace, Resources(num_cpus=1))


def test_a_sweep_from_python_has_the_same_faults_without_lines():
    with pytest.raises(InvalidSweepError) as caught:
        plan({"name": "toy", "pipeline": "tests.toy:TOY", "space": {"valeu": [1]}})
    (fault,) = caught.value.faults
    assert (fault.key, fault.nearest, fault.line) == ("space.valeu", "value", None)
    assert str(caught.value).startswith("the sweep has 1 fault:")


def test_a_sweep_object_a_dict_and_a_file_give_the_same_trials(tmp_path):
    content = {
        "name": "toy", "pipeline": "tests.toy:TOY", "tracking": "off",
        "seeds": 2, "space": {"value": (1, 2)},
    }  # fmt: skip
    store = str(tmp_path / "store")
    ids = [
        [trial.id for trial in plan(given, store=store).trials]
        for given in (content, Sweep(**content), write(tmp_path, TOY))
    ]
    assert ids[0] == ids[1] == ids[2]
    assert len(set(ids[0])) == 4


def test_a_relative_store_starts_at_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(Path(tmp_path.anchor))
    workspace = open_sweep(write(tmp_path, TOY + "store: here\n"))
    assert workspace.store.root == str(tmp_path / "here")


def test_planning_leaves_no_trace(tmp_path):
    store = tmp_path / "store"
    assert len(plan(write(tmp_path, TOY), store=str(store)).trials) == 4
    assert not store.exists()
    assert math.isfinite(sum(job.cost_s for job in plan(write(tmp_path, TOY)).jobs))


def test_a_misspelt_key_hides_no_fault_of_another_kind(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "name: two words\n"
        "max_concurent: 2\n"
        "models: all-MiniLM-L6-v3\n"
        "tasks: bbc-news\n"
        "seeds: 0\n"
        "space:\n"
        "  method: prob\n"
        "  learning_rate: []\n"
        "  seeds: 9\n"
    )
    with pytest.raises(InvalidSweepError) as caught:
        open_sweep(path)
    told = {(fault.line, fault.key) for fault in caught.value.faults}
    assert told == {
        (1, "name"),
        (2, "max_concurent"),
        (3, "models"),
        (5, "seeds"),
        (7, "space.method"),
        (8, "space.learning_rate"),
    }
