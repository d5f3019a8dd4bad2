"""The pure core: spaces, identities, merging, packing and estimates, over random input."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import ParameterGrid

from cluster.job import Cause, Failure, Resources
from orchestrator.errors import InvalidSweepError
from orchestrator.planning.grid import expand, parse
from orchestrator.planning.plan import Setting, merge
from orchestrator.planning.space import repeated_values, subspaces
from orchestrator.planning.sweep_file import SweepFile
from pipelines.contract import Node, Stage
from tests.orchestrator.toy_plans import expanded, ids, planned, trials_of
from tests.toy import PREPARE, Data

quick = settings(max_examples=40, deadline=None)
ONE = Resources()


# The space


NAMES = st.sampled_from("abcdef")
VALUES = st.integers(-3, 3) | st.sampled_from(["x", "y"]) | st.none()
MAPPINGS = st.dictionaries(NAMES, VALUES | st.lists(VALUES, min_size=1, max_size=3), max_size=4)


def in_sklearns_words(mapping):
    return {name: axis if isinstance(axis, list) else [axis] for name, axis in mapping.items()}


@quick
@given(space=st.lists(MAPPINGS, min_size=1, max_size=3))
def test_a_space_has_the_points_of_sklearns_parameter_grid(space):
    ours = [point for subspace in subspaces(space) for point in subspace.points()]
    theirs = list(ParameterGrid([in_sklearns_words(mapping) for mapping in space]))
    assert sorted(map(repr, map(sorted, map(dict.items, ours)))) == sorted(
        map(repr, map(sorted, map(dict.items, theirs)))
    )


@quick
@given(mapping=MAPPINGS)
def test_a_mapping_is_a_list_of_one(mapping):
    (alone,), (listed,) = subspaces(mapping), subspaces([mapping])
    assert list(alone.points()) == list(listed.points())


@quick
@given(axis=st.lists(st.integers(-2, 2) | st.sampled_from([0.0, 1.0, "1", None, [1], [2]])))
def test_a_value_is_repeated_when_it_equals_an_earlier_one(axis):
    repeated = [value for index, value in enumerate(axis) if value in axis[:index]]
    assert repeated_values(axis) == repeated


def test_true_and_one_are_two_values_of_a_command(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(
        "name: own\npipeline: command\nmetric: {name: a, mode: min}\n"
        "space: {command: 'echo {flag}', flag: [true, 1, false, 0]}\n"
    )
    file = SweepFile.read(path)
    assert len(merge(expand(parse(file), file))[0]) == 4
    assert repeated_values([True, 1, 1.0, True]) == [1.0, True]


def test_huge_values_are_told_apart():
    assert repeated_values([2**53, 2**53 + 1, 10**400]) == []


# Identity


AXES = st.fixed_dictionaries(
    {},
    optional={
        "value": st.lists(st.floats(-100, 100), min_size=1, max_size=4, unique=True),
        "group": st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True),
        "schedule": st.lists(
            st.sampled_from(["linear", "cosine", "constant"]), min_size=1, unique=True
        ),
    },
)


@quick
@given(axes=AXES, num_seeds=st.integers(1, 4))
def test_every_trial_has_an_id_of_its_own(axes, num_seeds):
    found = ids(axes, seeds=num_seeds)
    size = num_seeds
    for axis in axes.values():
        size *= len(set(map(float, axis))) if axis and not isinstance(axis[0], str) else len(axis)
    assert len(found) == len(set(found)) == size


@quick
@given(axes=AXES, num_seeds=st.integers(1, 3), shuffle=st.randoms(use_true_random=False))
def test_ids_do_not_depend_on_any_order(axes, num_seeds, shuffle):
    names = list(axes)
    shuffle.shuffle(names)
    shuffled = {name: shuffle.sample(axes[name], len(axes[name])) for name in names}
    seeds = shuffle.sample(range(num_seeds), num_seeds)
    assert sorted(ids(axes, seeds=num_seeds)) == sorted(ids(shuffled, seeds=seeds))


@quick
@given(axes=AXES, value=st.floats(101, 200))
def test_a_seed_or_a_value_more_leaves_the_other_ids_alone(axes, value):
    before = set(ids(axes, seeds=2))
    assert before < set(ids(axes, seeds=3))
    more = {**axes, "value": [*axes.get("value", [0.0]), value]}
    assert before < set(ids(more, seeds=2))
    assert before < set(ids([axes, {"value": value}], seeds=2))


def test_ids_are_the_same_in_every_release():
    # A change here makes every store of every user worthless: raise a stage's version instead.
    stage = Stage(name="a/stage", version=1, function="m:f", typical_s=1)
    earlier = Node(stage=stage, params={"x": 1.5, "words": ["é", None]}, sources={"data": Data()})
    node = Node(stage=stage, params={"seed": 3}, inputs={"earlier": earlier})
    assert node.digest[:16] == "4faa7e159c9312b3"


@pytest.mark.parametrize(
    "spellings",
    [("1e-5", "0.00001", "1.0E-05"), ("1", "1.0", "1e0", "+1"), ("100", "1e2", "1_00")],
)
def test_a_number_is_the_same_however_it_is_spelt(tmp_path, spellings):
    found = set()
    for number, spelling in enumerate(spellings):
        path = tmp_path / f"{number}.yaml"
        path.write_text(
            f'name: toy\npipeline: "tests.toy:TOY"\nspace:\n  value: {spelling}\n  group: 1\n'
        )
        file = SweepFile.read(path)
        found.update(trial.id for trial in merge(expand(parse(file), file))[0])
    assert len(found) == 1


def test_a_default_that_is_written_out_changes_nothing():
    assert ids({}) == ids({"value": 0, "sleep_s": 0.0, "schedule": "linear"})


def test_the_name_of_a_sweep_and_its_places_are_no_part_of_a_trial():
    common = ids({"value": [1, 2]})
    assert common == ids({"value": [1, 2]}, max_concurrent=1, tracking="off", store="elsewhere")
    assert common == ids({"value": [1, 2]}, metric={"name": "loss"}, resources={"num_cpus": 2})


def test_a_config_is_a_trial_without_its_seed():
    trials = trials_of({"value": [1, 2]}, seeds=3)
    assert len({trial.config_id for trial in trials}) == 2
    assert len({trial.id for trial in trials}) == 6


def test_mappings_that_overlap_ask_for_a_trial_once():
    assert len(ids([{"value": [1, 2]}, {"value": [2, 3]}])) == 3


def test_a_stage_of_another_version_has_another_digest():
    node = Node(stage=PREPARE, params={"tag": "x"}, sources={"data": Data()})
    newer = replace(node, stage=replace(PREPARE, version=2))
    other_data = replace(node, sources={"data": Data(digest="e" * 64)})
    renamed_data = replace(node, sources={"data": Data(name="other")})
    assert len({node.digest, newer.digest, other_data.digest}) == 3
    assert renamed_data.digest == node.digest


def test_a_pipeline_that_forgets_a_param_is_told():
    sweep, trials, _ = expanded({"value": 1})
    point_file = SweepFile({"name": "toy", "pipeline": "tests.toy:TOY", "space": {"value": [1, 2]}})
    points = expand(parse(point_file), point_file)
    forgotten = [replace(point, last=points[0].last) for point in points]
    with pytest.raises(InvalidSweepError, match="same computation"):
        merge(forgotten)
    assert len(trials) == len(merge([points[0], points[0]])[0]) == 1
    assert sweep.name == "toy"


# Merging


def test_equal_stages_are_merged():
    plan = planned({"value": [1, 2, 3], "group": [1, 2]}, seeds=4)
    by_name = {
        name: [s for s in plan.stages.values() if s.stage.name == name]
        for name in ("toy/prepare", "toy/work", "toy/evaluate")
    }
    assert {name: len(stages) for name, stages in by_name.items()} == {
        "toy/prepare": 2,
        "toy/work": 24,
        "toy/evaluate": 24,
    }
    assert {stage.num_trials for stage in by_name["toy/prepare"]} == {12}
    assert {stage.num_trials for stage in by_name["toy/work"]} == {1}
    assert plan.num_unmerged_stages == 72


def test_what_is_known_is_not_planned_again():
    everything = planned({"value": [1, 2]}, seeds=2)
    first, *others = everything.trials
    known = Setting(known=frozenset(first.stages))
    plan = planned({"value": [1, 2]}, known, seeds=2)
    assert plan.is_known(first)
    in_jobs = {digest for job in plan.jobs for digest in job.stages}
    assert in_jobs == {d for trial in others for d in trial.stages} - set(first.stages)
    assert (
        planned({"value": [1, 2]}, Setting(known=frozenset(everything.stages)), seeds=2).jobs == ()
    )


def test_a_known_result_needs_none_of_what_led_to_it():
    trial = planned({"value": 1}).trials[0]
    plan = planned({"value": 1}, Setting(known=frozenset({trial.result_digest})))
    assert plan.jobs == ()


def test_a_skipped_stage_takes_its_trials_out_and_no_other():
    everything = planned({"value": [1, 2]}, seeds=2)
    first = everything.trials[0]
    failure = Failure(Cause.BUG, "broke")
    work = next(d for d in first.stages if everything.stages[d].stage.name == "toy/work")
    plan = planned({"value": [1, 2]}, Setting(skipped={work: failure}), seeds=2)
    in_jobs = {digest for job in plan.jobs for digest in job.stages}
    assert not in_jobs & {work, first.result_digest}
    assert len(in_jobs) == 1 + 3 * 2
    assert plan.skipped_for(first) is failure
    assert [plan.skipped_for(trial) for trial in plan.trials[1:]] == [None] * 3
