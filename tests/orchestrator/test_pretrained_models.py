"""Models that a sweep makes itself: their names, their faults, and that each is trained once."""

import json
from collections import Counter

import jsonschema
import pytest
from pydantic import BaseModel

from cluster.job import State
from orchestrator import InvalidSweepError, RunOptions, plan, report, run
from orchestrator.planning.schema import sweep_schema
from orchestrator.running.journal import read_journal
from orchestrator.running.workspace import open_sweep
from pipelines.contract import Node
from pipelines.models.made import MadeModel
from tests.pipelines.tiny_language import save_labelled, save_text
from tests.toy import PREPARE, TOY, ToyParams

SMALL = {
    "vocab_size": 300,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "max_length": 16,
    "batch_size": 16,
    "epochs": 1,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A corpus and a task, a few hundred short texts each."""
    folder = tmp_path_factory.mktemp("files")
    save_text(folder / "corpus.txt", 200)
    save_labelled(folder / "task.csv", 200)
    return folder


@pytest.fixture
def sweep(files, tmp_path):
    """Make a sweep of models that it trains itself."""

    def make(pretrain, *others, **keys):
        made = {"name": "tiny", "pretrain": pretrain}
        return {
            "name": "made",
            "store": str(tmp_path / "store"),
            "tracking": "off",
            "models": [made, *others],
            "tasks": {"name": "task", "source": str(files / "task.csv")},
            "space": {"method": "probe", "max_length": 16, "epochs": 1},
            **keys,
        }

    return make


@pytest.fixture
def small(files):
    return {"corpus": str(files / "corpus.txt"), **SMALL}


def names(made):
    return list(dict.fromkeys(trial.model for trial in made.trials))


def counts(made):
    """Return how many merged stages of each name there are."""
    return Counter(stage.stage.name for stage in made.stages.values())


def to_run(made):
    return Counter(made.stages[d].stage.name for job in made.jobs for d in job.stages)


def faults(sweep):
    with pytest.raises(InvalidSweepError) as caught:
        plan(sweep)
    return {fault.key: fault for fault in caught.value.faults}


# Names


def test_models_are_named_by_what_varies_among_them(sweep, small):
    axes = {"objective": ["masked", "causal"], "num_hidden_layers": [1, 2]}
    assert names(plan(sweep({**small, **axes}))) == [
        f"tiny objective={objective} num_hidden_layers={layers}"
        for objective in ("masked", "causal")
        for layers in (1, 2)
    ]


def test_a_single_model_has_the_name_of_its_entry(sweep, small):
    assert names(plan(sweep(small))) == ["tiny"]
    assert names(plan(sweep(small, models={"pretrain": small}))) == ["pretrain"]


def test_mappings_of_a_list_are_told_apart_by_what_only_some_of_them_set(sweep, small):
    made = plan(sweep([small, {**small, "learning_rate": "1e-2", "seeds": [0, 5]}]))
    assert names(made) == [
        "tiny learning_rate=0.001 seed=0",
        "tiny learning_rate=0.01 seed=0",
        "tiny learning_rate=0.01 seed=5",
    ]


def test_seeds_of_trials_do_not_multiply_models(sweep, small):
    assert counts(plan(sweep(small, seeds=3)))["pretrain/train"] == 1
    assert counts(plan(sweep({**small, "seeds": 2}, seeds=3)))["pretrain/train"] == 2


def test_a_mapping_of_the_space_keeps_to_all_models_of_an_entry_or_to_one(sweep, small):
    both = {"objective": ["masked", "causal"], "num_hidden_layers": 1}
    space = [
        {"method": "probe", "max_length": 16, "models": "tiny"},
        {"method": "full", "max_length": 16, "models": "tiny objective=causal"},
    ]
    made = plan(sweep({**small, **both}, "all-MiniLM-L6-v2", space=[*space]))
    assert Counter(trial.method for trial in made.trials) == {"probe": 2, "full": 1}


# Faults


def test_all_faults_of_an_entry_are_told_where_they_stand(sweep, small):
    wrong = {
        **small,
        "objective": ["masked", "masked"],
        "num_hidden_layers": [],
        "hiden_size": 16,
        "epochs": 0,
        "seeds": 0,
        "tasks": "task",
    }
    found = faults(sweep(wrong, {"pretrain": {**small, "hidden_size": 33}}))
    assert set(found) == {
        *(f"models[0].pretrain.{key}" for key in wrong.keys() - small.keys()),
        "models[0].pretrain.epochs",
        "models[1].pretrain.hidden_size",
    }
    assert found["models[0].pretrain.hiden_size"].nearest == "hidden_size"
    assert found["models[1].pretrain.hidden_size"].nearest == "32"


@pytest.mark.parametrize(
    ("entry", "key", "nearest"),
    [
        ({"pretrian": {}}, "models[0].pretrian", "pretrain"),
        ({"name": "x", "pretrain": {}, "colour": "x"}, "models[0].colour", ""),
        ({"pretrain": []}, "models[0]", ""),
        ({"pretrain": {}, "pipeline": "tests.toy:TOY", "space": {}}, "models[0]", ""),
        ({"pipeline": "tests.toy:TOY"}, "models[0]", ""),
        ({"pipeline": "tests.toy:TOY", "space": {}}, "models[0].pipeline", ""),
        ({"pipeline": "pretrian", "space": {}}, "models[0].pipeline", "pretrain"),
        ({"pretrain": {"corpus": "bbc-newz"}}, "models[0].pretrain.corpus", "bbc-news"),
        ({"pretrain": {}}, "models[0].pretrain.corpus", ""),
    ],
)
def test_a_faulty_entry_is_told_at_its_key(sweep, small, entry, key, nearest):
    found = faults(sweep(small, models=[entry]))
    assert list(found) == [key]
    assert found[key].nearest == nearest


def test_the_line_of_a_fault_is_told(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "name: x\nmodels:\n  - pretrain:\n      corpus: bbc-news\n      hidden_size: 33\n"
        "tasks: bbc-news\nspace: {method: probe}\n"
    )
    with pytest.raises(InvalidSweepError) as caught:
        plan(path)
    assert [fault.line for fault in caught.value.faults] == [5]


def test_two_models_of_one_content_are_a_fault(sweep, small):
    twice = {"name": "again", "pretrain": {**small, "model_type": "bert"}}
    assert "same content as 'tiny'" in faults(sweep(small, twice))["models[1]"].message


def test_the_schema_knows_models_that_are_made(sweep, small):
    written = json.loads(json.dumps(sweep({**small, "objective": ["masked", "causal"]})))
    jsonschema.Draft202012Validator(sweep_schema()).validate(written)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(sweep_schema()).validate(
            {**written, "models": [{"pretrian": {}}]}
        )


# Pipelines of one's own


class OwnPipeline(type(TOY)):
    """A user's pipeline that makes models."""

    def made_model(self, trial, *, name, group):
        node = Node(stage=PREPARE, params=trial.params.model_dump(mode="json"))
        return MadeModel(name=name, node=node, group=group)


OWN = OwnPipeline(name="own")


def test_a_pipeline_of_ones_own_makes_models_too(sweep, small):
    assert issubclass(ToyParams, BaseModel)
    entry = {
        "pipeline": "tests.orchestrator.test_pretrained_models:OWN",
        "space": {"value": [1, 2.5]},
    }
    assert names(plan(sweep(small, models=entry))) == ["own value=1", "own value=2.5"]


# Running


def executed(sweep):
    """Return how many stages of each name all runs of a sweep have computed."""
    store = open_sweep(sweep).store
    digests = [
        d for e in read_journal(store, "made") if e.kind == "stage_finished" for d in e.stages
    ]
    return Counter(record.stage for record in store.find(digests).values())


def test_models_are_trained_once_and_a_further_variant_alone(sweep, small):
    options = RunOptions(backend="inline")
    two = sweep({**small, "objective": ["masked", "causal"], "num_hidden_layers": 1}, seeds=2)
    planned = plan(two)
    assert counts(planned)["pretrain/train"] == 2
    assert counts(planned)["pretrain/tokenizer"] == counts(planned)["language/blocks"] == 1
    made = run(two, options)
    assert [result.state for result in made.results] == [State.FINISHED] * 4
    assert not plan(two).jobs
    more = sweep({**small, "objective": ["masked", "causal"], "num_hidden_layers": [1, 2]}, seeds=2)
    # The names are others now, as depth varies too; what was trained is known by its content.
    assert to_run(plan(more))["pretrain/train"] == 2
    third = sweep(
        [
            {**small, "objective": ["masked", "causal"], "num_hidden_layers": 1},
            {**small, "objective": "causal", "num_hidden_layers": 2},
        ],
        seeds=2,
    )
    assert to_run(plan(third))["pretrain/train"] == 1
    assert not {"pretrain/tokenizer", "language/blocks", "transfer/load"} & set(to_run(plan(third)))
    again = run(third, options)
    assert [result.state for result in again.results] == [State.FINISHED] * 6
    ranked = {row.model for row in report(third).leaderboard.tasks["task"]}
    assert ranked == set(names(plan(third)))
    for result in again.results:  # the curve is that of the trial, not of pre-training
        assert [point["step"] for point in result.curve] == sorted(
            point["step"] for point in result.curve
        )
