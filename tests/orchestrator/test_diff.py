"""Where two trials part and why, by their graphs and on the command line."""

from dataclasses import replace

import pytest

from orchestrator import run
from orchestrator.comparing.diff import stage_pairs
from pipelines.contract import Node, Stage
from tests.cli import fanflare
from tests.test_docs import check_json
from tests.toy import Data

__all__ = ["fanflare"]  # the fixture


def stage(name, version=1):
    return Stage(name=name, version=version, function=f"nowhere:{name}", typical_s=1.0)


def chain(*, lr=0.1, source="d", version=1, encodes=True, length=128):
    """Return the last node of load -> tokenize [-> encode] -> train."""
    load = Node(stage=stage("load"), sources={"task": Data(name=source, digest=source * 64)})
    last = Node(
        stage=stage("tokenize", version), params={"max_length": length}, inputs={"rows": load}
    )
    if encodes:
        last = Node(stage=stage("encode"), inputs={"prepared": last})
    return Node(stage=stage("train"), params={"lr": lr, "epochs": 3}, inputs={"features": last})


def parting(first, second):
    """Return the first stage that differs by itself, and its reasons as `kind name a b`."""
    pair = next(pair for pair in stage_pairs(first, second) if pair.own_reasons)
    return pair.stage, [(r.kind, r.name, *r.values) for r in pair.own_reasons]


@pytest.mark.parametrize(
    ("changes", "stage", "reason"),
    [
        ({"lr": 0.2}, "train", ("param", "lr", 0.1, 0.2)),
        ({"length": 64, "lr": 0.2}, "tokenize", ("param", "max_length", 128, 64)),
        ({"source": "e"}, "load", ("source", "task", "d", "e")),
        ({"version": 2}, "tokenize", ("version", "version", 1, 2)),
        ({"encodes": False}, "encode", ("stage", "stage", "encode", None)),
    ],
)
def test_two_trials_part_at_the_first_stage_that_differs_by_itself(changes, stage, reason):
    assert parting(chain(), chain(**changes)) == (stage, [reason])


def test_what_follows_differs_by_its_input():
    pairs = {pair.stage: pair for pair in stage_pairs(chain(), chain(length=64))}
    assert pairs["load"].is_same
    assert [(r.kind, r.name) for r in pairs["encode"].reasons] == [("input", "prepared")]
    assert not pairs["encode"].own_reasons


def test_a_stage_that_both_have_is_the_same_wherever_it_stands():
    first, second = chain(), chain(encodes=False)
    pairs = stage_pairs(first, second)
    assert [pair.stage for pair in pairs if pair.is_same] == ["load", "tokenize"]
    assert [pair.stage for pair in pairs] == ["load", "tokenize", "encode", "train"]
    assert all(pair.is_same for pair in stage_pairs(first, replace(first, keep=frozenset("x"))))


@pytest.fixture
def ids(toy):
    """Run a toy sweep; return the ids of its trials by value and seed."""
    made = run(toy.sweep({"value": [1, 2]}, seeds=2), backend="inline")
    return {(r.trial.params["value"], r.trial.seed): r.trial.id for r in made.results}


def test_the_command_says_where_and_why_they_part(fanflare, toy, ids, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    ended = fanflare("diff", ids[1, 0][:8], ids[2, 0], "--store", toy.store)
    assert ended.code == 0
    assert "They part at toy/work: value is 1 and 2." in ended.out
    assert "1 of 3 stages are the same: toy/prepare; different: toy/work" in ended.out
    assert "test/score" in ended.out
    assert "+1.0000" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80


def test_a_trial_is_the_same_computation_as_itself(fanflare, toy, ids):
    ended = fanflare("diff", ids[1, 0], ids[1, 0], "--store", toy.store)
    assert ended.code == 0
    assert "They are the same computation." in ended.out


def test_trials_of_two_sweeps_are_compared(fanflare, toy, ids):
    other = run(toy.sweep({"value": 5, "group": 7}, name="other"), backend="inline")
    told = fanflare("diff", ids[1, 0], other.results[0].trial.id, "--store", toy.store, "--json")
    assert [side["sweep"] for side in told.json["trials"]] == ["toy", "other"]
    parting = told.json["parting"]
    assert (parting["stage"], parting["reasons"][0]["values"]) == ("toy/prepare", [0, 7])


def test_a_failed_trial_has_no_metrics(fanflare, toy, ids):
    made = run(toy.sweep({"value": 3, "fail": "raise"}, name="broken"), backend="inline")
    told = fanflare("diff", ids[1, 0], made.results[0].trial.id, "--store", toy.store, "--json")
    assert told.code == 0
    assert [side["state"] for side in told.json["trials"]] == ["FINISHED", "FAILED"]
    assert all(entry["values"][1] is None for entry in told.json["metrics"])


def test_an_unknown_trial_is_refused(fanflare, toy, ids):
    ended = fanflare("diff", ids[1, 0], "no-such", "--store", toy.store)
    assert ended.code == 2
    assert "no trial's id begins with 'no-such'" in ended.err


def test_the_keys_of_diff(fanflare, toy, ids):
    told = fanflare("diff", ids[1, 0], ids[2, 1], "--store", toy.store, "--json").json
    agreement = ("num_rows", "num_flipped", "kappa", "mean_difference", "test", "p")
    told["predictions"] = dict.fromkeys(agreement)
    check_json("`fanflare diff TRIAL TRIAL --json`", told)
