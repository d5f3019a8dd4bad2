"""Pipelines of a user's own with slips in them: told before anything is computed, or by a trial."""

import datetime
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, Field

from cluster.job import Cause
from orchestrator import InvalidSweepError, plan, report, run
from pipelines.contract import Node, Stage, StageResult
from tests.orchestrator.runs import failures, states

SCORE = Stage(
    name="own/score",
    version=1,
    function="tests.orchestrator.test_own_pipelines:score",
    typical_s=0.01,
)


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float = 0
    slip: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Own:
    """A pipeline that passes on what it is told to give as its graph."""

    given: object = None
    name: str = "own"
    takes_models: bool = False
    takes_tasks: bool = False

    def methods(self):
        return {"": Params}

    def params_schema(self, method):
        return Params

    def metrics(self, task):
        return {"score": "max"}

    def graph(self, trial):
        return self.given


class Scoring(Own):
    """A pipeline of one stage, whose result has the slip that it is asked for."""

    def graph(self, trial):
        return Node(stage=SCORE, params={**trial.params.model_dump(), "seed": trial.seed})


def score(context, members, inputs, sources):
    """Give a score, or what is asked for in its place."""
    (member,) = members
    score = member["value"] + member["seed"]
    return [StageResult(value={"metrics": {"validation/score": score}, **member["slip"]})]


def with_param(value):
    return Own(Node(stage=SCORE, inputs={"first": Node(stage=SCORE, params={"option": value})}))


def in_a_circle():
    inputs = {}
    inputs["first"] = Node(stage=replace(SCORE, name="own/first"), inputs=inputs)
    return Own(Node(stage=SCORE, inputs=inputs))


SCORING = Scoring()
NOTHING = Own(None)
MAPPING = Own({"stage": SCORE})
INNER = Own(Node(stage=SCORE, inputs={"first": None}))
NO_STAGE = Own(Node(stage="own/score"))
CIRCLE = in_a_circle()
SET = with_param({1})
NAN = with_param([math.nan])
ARRAY = with_param(np.float32(1))
DATE = with_param({"day": datetime.date(2026, 1, 2)})
NUMBER = 3


def sweep(toy, name, space=None, **keys):
    pipeline = f"tests.orchestrator.test_own_pipelines:{name}"
    return {**toy.sweep(**keys), "pipeline": pipeline, "space": space or {}}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("NOTHING", "the graph of 'own' has None as the last node; allowed: a Node"),
        ("MAPPING", "the graph of 'own' has {'stage': Stage("),
        ("INNER", "has None as an input of stage 'own/score'; allowed: a Node"),
        ("NO_STAGE", "has a node of stage 'own/score'; allowed: a Stage"),
        ("CIRCLE", "has stage 'own/first' needs itself"),
        ("SET", "has param 'option' of stage 'own/score' is {1}; allowed: None, truth values"),
        ("NAN", "param 'option' of stage 'own/score' is [nan]; allowed"),
        ("ARRAY", "param 'option' of stage 'own/score' is"),
        ("DATE", "is {'day': datetime.date(2026, 1, 2)}; allowed"),
        ("Own", "is a class; name an object of it, as PIPELINE = Own()"),
        ("NUMBER", "is no pipeline: it has no name, takes_models"),
    ],
)
def test_a_pipeline_that_gives_no_graph_is_a_fault_of_the_file(toy, name, told):
    with pytest.raises(InvalidSweepError) as caught:
        plan(sweep(toy, name, seeds=2))
    (fault,) = caught.value.faults
    assert fault.key == "pipeline"
    assert told in fault.message


@pytest.mark.parametrize(
    ("slip", "told"),
    [
        ({"metrics": {"validation/score": "2.0"}}, "gave '2.0' as metric 'validation/score'"),
        ({"metrics": [2.0]}, "own/score gave [2.0] as metrics; they are numbers by name"),
        ({"curve": [{"loss": 2.0}]}, "own/score gave {'loss': 2.0} in its curve"),
        ({"curve": [{"loss": 2.0, "step": 10**30}]}, "with a 'step' of at most 63 bits"),
    ],
)
def test_a_result_that_nobody_could_read_fails_its_trial_and_is_not_kept(toy, slip, told):
    space = [{"value": 1}, {"value": 2, "slip": slip}]
    made = run(sweep(toy, "SCORING", space), backend="inline")
    assert states(made) == {"FINISHED": 1, "FAILED": 1}
    ((_, failure),) = failures(made).items()
    assert failure.cause is Cause.BUG
    assert told in failure.message
    assert run(sweep(toy, "SCORING", space), backend="inline").num_reused == 1
    assert states(report(sweep(toy, "SCORING", space))) == {"FINISHED": 1, "FAILED": 1}
