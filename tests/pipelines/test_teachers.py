"""How a sweep names a teacher: faults are told before anything runs, and tables read well."""

import json

import pytest

from orchestrator import InvalidSweepError, plan, report
from orchestrator.comparing.wording import config_label, format_params
from tests.pipelines.test_distill import DISTILL, places, saved, sweep_of

__all__ = ["places", "saved"]  # fixtures


@pytest.mark.parametrize(
    ("teacher", "key", "words"),
    [
        ({"method": "full", "epoch": 3}, "space[0].teacher.epoch", ["unknown param", "epochs"]),
        ({"method": "full", "epochs": 0}, "space[0].teacher.epochs", ["greater than or equal"]),
        ({"method": "ful"}, "space[0].teacher.method", ["unknown method", "full"]),
        ({"epochs": 3}, "space[0].teacher.method", ["required"]),
        ({"model": "brt", "method": "full"}, "space[0].teacher", ["this sweep's models", "bert"]),
        ("./nowhere", "space[0].teacher", ["nowhere"]),
        ({"source": "./bert", "digset": "0"}, "space[0].teacher.digset", ["digest"]),
        (7, "space[0].teacher", ["a teacher is"]),
    ],
)
def test_a_fault_of_the_teacher_is_told_before_anything_runs(places, tmp_path, teacher, key, words):
    sweep = sweep_of(places, tmp_path, {**DISTILL, "teacher": teacher})
    with pytest.raises(InvalidSweepError) as caught:
        plan(sweep)
    (fault,) = caught.value.faults
    assert fault.key == key
    assert all(word in f"{fault.message} {fault.nearest}" for word in words), fault


def test_a_saved_model_does_not_teach_words(places, saved, tmp_path):
    sweep = sweep_of(places, tmp_path, {**DISTILL, "teacher": str(saved)}, tasks=["words"])
    with pytest.raises(InvalidSweepError, match="teaches one answer a text"):
        plan(sweep)


def test_tables_show_what_differs_of_a_teacher(places, tmp_path):
    teachers = ["probe", {"method": "full", "epochs": 3}, {"method": "full", "epochs": "5"}]
    sweep = sweep_of(places, tmp_path, {**DISTILL, "teacher": teachers})
    made = plan(sweep)
    told = [trial.params["teacher"] for trial in made.trials]
    assert told == [{"method": "probe"}, {"method": "full"}, {"method": "full", "epochs": 5}]
    assert format_params({"teacher": told[0], "epochs": 2}) == "teacher=probe epochs=2"
    assert (
        format_params({"teacher": {**told[2], "model": "x"}}) == "teacher=full(epochs=5, model=x)"
    )
    labels = [config_label(row) for row in report(sweep).leaderboard.tasks["classes"]]
    assert sorted(labels) == [
        "bert distill teacher=full",
        "bert distill teacher=full(epochs=5)",
        "bert distill teacher=probe",
    ]
    column = report(sweep).table()["params.teacher"].to_pylist()
    assert [json.loads(text) for text in column] == told
