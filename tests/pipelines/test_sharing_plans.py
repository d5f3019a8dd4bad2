"""Which trials a plan puts together, by what they have in common; computes nothing."""

import pytest

from cluster.job import Resources
from orchestrator.planning.cost import Observation, Timings
from orchestrator.planning.plan import Setting, make_plan
from orchestrator.running.workspace import open_sweep
from tests.pipelines.tiny import save_bert, save_task

ENCODE, PROBE, FINETUNE = "transfer/encode", "transfer/probe", "transfer/finetune"
CONSTANT = {"schedule": "constant", "warmup_ratio": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("sharing")
    save_bert(made / "model")
    save_task(made / "reviews.csv", 64)
    return made


@pytest.fixture
def planned(folder):
    """Plan a space for two slots, and return the plan; nothing is in the store."""

    def plan(space, *, num_gpus=0, **setting):
        sweep = {
            "name": "s",
            "models": {"name": "tiny", "source": str(folder / "model")},
            "tasks": str(folder / "reviews.csv"),
            "space": {"max_length": 16, "train_size": 16, **space},
            "resources": {"num_gpus": num_gpus},
            "seeds": space.get("seeds", 1),
        }
        opened = open_sweep(sweep, str(folder / "store"))
        capacity = Resources(num_cpus=2, num_gpus=2 * num_gpus)
        return make_plan(
            opened.sweep, opened.trials, opened.nodes, Setting(capacity=capacity, **setting)
        )

    return plan


def sizes(plan, name):
    """Return how many members the cohorts of a stage have, the largest first."""
    found = (c for c in plan.cohorts if plan.stages[c.stages[0]].stage.name == name)
    return sorted((len(cohort.stages) for cohort in found), reverse=True)


def stages_of(plan, name):
    return [stage for stage in plan.stages.values() if stage.stage.name == name]


def test_heads_share_one_pass_and_one_cohort_whatever_their_training_size(planned):
    space = {"method": "probe", "train_size": [8, 16, 24], "learning_rate": [0.01, 0.1]}
    plan = planned({**space, "pooling": ["mean", "max"], "seeds": 2})
    assert sizes(plan, ENCODE) == [6]
    assert sizes(plan, PROBE) == [24]
    assert len(plan.jobs) < 12


def test_what_is_known_keeps_nothing_from_joining_the_rest(planned):
    before = planned({"method": "probe", "train_size": 8})
    more = {"method": "probe", "train_size": [8, 16], "pooling": "max"}
    for known in (frozenset(), frozenset(before.stages)):
        assert sizes(planned(more, known=known), ENCODE) == [2]
    partial = {"method": "partial", "frozen_layers": 1}
    shared = {d for d, stage in before.stages.items() if stage.stage.name not in (ENCODE, PROBE)}
    for known in (frozenset(), frozenset(shared)):
        assert sizes(planned({**partial, "train_size": [8, 16]}, known=known), FINETUNE) == [2]


@pytest.mark.parametrize("method", [{"method": "probe"}, {"method": "partial", "frozen_layers": 1}])
def test_timings_of_a_few_rows_do_not_keep_many_from_sharing(planned, method):
    """A first sweep on a small part of the data, and a larger one: sharing pays in both."""
    name = ENCODE if method["method"] == "probe" else FINETUNE
    timings = Timings()
    for stage in stages_of(planned({**method, "train_size": 8}), name):
        timings.take(Observation(cost_keys=stage.cost_keys, duration_s=0.4))
    for stage in stages_of(planned({**method, "train_size": [24, 30]}), name):
        seen = Observation(cost_keys=stage.cost_keys, duration_s=9.0, num_together=2)
        timings.take(seen)
    plan = planned({**method, "train_size": [25, 31]}, timings=timings)
    assert sizes(plan, name) == [2]


def test_the_longest_of_several_sizes_is_known_as_such(planned):
    full = {"method": "full", "train_size": [8, 24]}
    timings = Timings()
    for stage, seconds in zip(stages_of(planned(full), FINETUNE), (1.1, 9.7), strict=True):
        timings.take(Observation(cost_keys=stage.cost_keys, duration_s=seconds))
    again = planned(full, timings=timings)
    assert [stage.cost_s for stage in stages_of(again, FINETUNE)] == [1.1, 9.7]


@pytest.mark.parametrize(
    ("method", "num_cohorts"),
    [
        ({"method": "partial", "frozen_layers": 1}, 1),
        ({"method": "lora", "frozen_layers": 1}, 1),
        ({"method": "lora"}, 2),
        ({"method": "full"}, 2),
    ],
)
def test_trainings_alike_but_for_epochs_are_in_one_job(planned, method, num_cohorts):
    plan = planned({**method, **CONSTANT, "learning_rate": [1e-3, 1e-2], "epochs": [1, 2, 3, 4]})
    assert len(sizes(plan, FINETUNE)) == num_cohorts
    homes = {}
    for job in plan.jobs:
        for digest in job.stages:
            if plan.stages[digest].stage.name == FINETUNE:
                rate = plan.stages[digest].params["learning_rate"]
                homes.setdefault(rate, set()).add(job.id)
    assert [len(jobs) for jobs in homes.values()] == [1, 1]
    assert len(set.union(*homes.values())) == 2, "the other core has work too"


def test_trainings_whose_schedule_depends_on_their_length_are_spread(planned):
    partial = {"method": "partial", "frozen_layers": 1, "epochs": [1, 2, 3, 4]}
    plan = planned(partial)
    in_jobs = [
        sum(plan.stages[digest].stage.name == FINETUNE for digest in job.stages)
        for job in plan.jobs
    ]
    assert sorted(in_jobs, reverse=True)[:2] == [2, 2]


def test_adapters_in_all_layers_stand_side_by_side_on_an_accelerator_only(planned):
    lora = {"method": "lora", "learning_rate": [1e-3, 1e-2], "epochs": [1, 2]}
    assert sizes(planned(lora), FINETUNE) == []
    assert sizes(planned(lora, num_gpus=1), FINETUNE) == [4]
    assert sizes(planned({**lora, **CONSTANT}), FINETUNE) == [2, 2]
    assert sizes(planned({**lora, **CONSTANT}, num_gpus=1), FINETUNE) == [4]
