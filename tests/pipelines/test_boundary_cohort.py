"""Trials that freeze the same layers share one pass, and come to what each comes to alone."""

import pytest

from orchestrator import plan
from pipelines.contract import DivergedError
from pipelines.models.boundary import into_layers
from pipelines.transfer.boundary_cohort import finetune_together
from tests.pipelines.cohorts import alone, assert_equal, context, of_several_sizes
from tests.pipelines.cohorts import together as run_together
from tests.pipelines.test_finetuning import files, member, model, tokens
from tests.pipelines.tiny import save_task

__all__ = ["alone", "context", "files", "model", "tokens"]  # fixtures

MIXED = (
    {},
    {"frozen_layers": 3, "learning_rate": 1e-3},
    {"frozen_layers": 1, "schedule": "cosine", "batch_size": 5},
    {"frozen_layers": 0.5, "head_learning_rate": 0.1, "epochs": 3, "patience": 1},
    {"frozen_layers": 0, "pooling": "cls", "weight_decay": 0.3},
    {"gradient_accumulation_steps": 2, "max_grad_norm": 0.1},
    {"frozen_layers": 4},
)


def mixed(count):
    return [
        {**member("partial", **MIXED[n % len(MIXED)]), "seed": n // len(MIXED)}
        for n in range(count)
    ]


def together(context, model, tokens, params):
    return run_together(finetune_together, context, model, tokens, params)


@pytest.mark.parametrize("count", [1, 2, 7, 32])
def test_a_cohort_of_mixed_members_gives_what_each_gives_alone(
    alone, context, model, tokens, count
):
    params, tasks = mixed(count), of_several_sizes(tokens, count)
    ended = together(context, model, tasks, params)
    uncut = {n for n, each in enumerate(params) if each["frozen_layers"] == 4}
    assert set(ended) == set(range(count)) - uncut  # of which nothing is left above the cut
    for number, result in ended.items():
        if number % 4 < 2 or number < 8:
            assert_equal(result, alone(context, model, tasks[number], params[number]))


def test_the_order_of_the_members_and_their_company_change_nothing(context, model, tokens):
    params, tasks = mixed(6), of_several_sizes(tokens, 6)
    whole = together(context, model, tasks, params)
    few = (4, 1, 3)
    part = together(context, model, [tasks[n] for n in few], [params[n] for n in few])
    for place, number in enumerate(few):
        assert_equal(part[place], whole[number])


def test_a_member_that_diverges_leaves_the_others_alone(alone, context, model, tokens):
    params, tasks = mixed(4), of_several_sizes(tokens, 4)
    params[1] = {**params[1], "learning_rate": 1e30, "max_grad_norm": 0.0}
    ended = together(context, model, tasks, params)
    assert isinstance(ended[1], DivergedError)
    for number in (0, 2, 3):
        assert_equal(ended[number], alone(context, model, tasks[number], params[number]))


def test_every_distinct_row_goes_through_the_frozen_layers_once(
    context, model, tokens, monkeypatch
):
    """Whatever the number of members, depths, training sizes and splits."""
    seen = []

    def watched(backbone, batch, depths):
        seen.extend(map(bytes, batch["input_ids"].cpu().numpy()))
        return into_layers(backbone, batch, depths)

    monkeypatch.setattr("pipelines.models.boundary.into_layers", watched)
    together(context, model, of_several_sizes(tokens, 6), mixed(6))
    texts = {
        tuple(ids)
        for split in ("train", "validation", "test")
        for ids in tokens.table(split)["input_ids"].to_pylist()
    }
    assert len(seen) == len(set(seen)) == len(texts)


def test_activations_that_do_not_fit_into_memory_are_not_kept(
    alone, context, model, tokens, monkeypatch
):
    """The deepest cut spares most, so it stays longest; the others train from the texts."""
    depths = [1, 3, 0, 3]
    params = [
        {**member("partial", frozen_layers=depth), "seed": n} for n, depth in enumerate(depths)
    ]
    size_gib = (
        sum(
            len(ids)
            for split in ("train", "validation", "test")
            for ids in {tuple(ids) for ids in tokens.table(split)["input_ids"].to_pylist()}
        )
        * 32
        * 4
        / 2**30
    )
    for room, ended in ((4.1, {0, 1, 2, 3}), (3.9, {1, 2, 3}), (0.5, {2})):
        monkeypatch.setattr(context, "free_memory_gib", lambda room=room: room * size_gib)
        found = together(context, model, [tokens] * 4, params)
        assert set(found) == ended
        assert_equal(found[2], alone(context, model, tokens, params[2]))


@pytest.mark.parametrize(
    "space",
    [
        {"method": "partial", "frozen_layers": [1, 0.5]},
        {"method": "lora", "frozen_layers": [1, 3], "rank": [2, 4]},
    ],
)
def test_a_plan_shares_the_pass_whatever_the_training_size_and_the_rate(model, tmp_path, space):
    save_task(tmp_path / "reviews.csv", 64)
    made = plan(sweep_of(model, tmp_path, space), store=str(tmp_path / "store"))
    (cohort,) = made.cohorts
    assert len(cohort.stages) == len(made.trials) >= 8
    assert made.stages[cohort.stages[0]].stage.name == "transfer/finetune"


def test_on_a_cpu_adapters_in_all_layers_share_nothing(model, tmp_path):
    save_task(tmp_path / "reviews.csv", 64)
    space = {"method": "lora", "frozen_layers": 0}
    made = plan(sweep_of(model, tmp_path, space), store=str(tmp_path / "store"))
    assert made.cohorts == ()
    node = next(s for s in made.stages.values() if s.stage.name == "transfer/finetune")
    assert "frozen_layers" not in node.params  # as before there was this param


def sweep_of(model, folder, space):
    """Return a sweep over two training sizes and two rates besides."""
    return {
        "name": "s",
        "models": [{"name": "tiny", "source": model.source.location}],
        "tasks": [str(folder / "reviews.csv")],
        "space": {
            "max_length": 16,
            "train_size": [8, 16],
            "learning_rate": [1e-3, 1e-2],
            **space,
        },
    }
