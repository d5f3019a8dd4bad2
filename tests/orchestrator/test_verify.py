"""Labels and their check: what is shared says so, and a rerun alone finds what sharing broke."""

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pytest

from cluster.job import State
from orchestrator import report, run
from orchestrator.comparing.fidelity import EQUAL, EXACT, Result, bound_of, compare
from orchestrator.planning.trial import Trial, TrialResult
from orchestrator.running.rerun import stages_to_recompute
from orchestrator.running.status import sweep_status
from orchestrator.running.tracking.records import trial_record
from orchestrator.running.verify import VerifyOptions, sample, verify
from orchestrator.running.workspace import open_sweep
from pipelines.cohorts import CohortMember
from pipelines.contract import Cohort, Node
from pipelines.labels import Fidelity
from pipelines.pipeline import TrialSettings
from pipelines.transfer import probing
from tests.cli import fanflare, sweep_file
from tests.pipelines.tiny import save_bert, save_task
from tests.toy import EVALUATE, PREPARE, WORK, Data, ToyParams, ToyPipeline, work

__all__ = ["fanflare"]  # the fixture

TOGETHER = replace(
    WORK,
    cohort=Cohort(
        function="tests.orchestrator.test_verify:work_together",
        fusable_params=frozenset({*ToyParams.model_fields, "seed"}),
        fidelity=Fidelity.EQUAL,
        shared="the work",
        fixed_cost=1.0,  # so that a group is one job
        member_cost=0.01,
    ),
)


@dataclass(frozen=True)
class SharingPipeline(ToyPipeline):
    """The toy pipeline, the work of a group done together."""

    name: str = "sharing"

    def graph(self, trial: TrialSettings) -> Node:
        params = trial.params.model_dump(mode="json")
        own = {"tag": params["tag"]}
        prepared = Node(
            stage=PREPARE, params={**own, "group": params["group"]}, sources={"data": Data()}
        )
        worked = Node(
            stage=TOGETHER, params={**params, "seed": trial.seed}, inputs={"prepared": prepared}
        )
        return Node(stage=EVALUATE, params=own, inputs={"worked": worked})


SHARING = SharingPipeline()


def work_together(context, members):
    """Work for all; where it is asked for, a member's score depends on the size of its company."""
    for index, member in enumerate(members):
        (result,) = work(context, [member.params], member.inputs, member.sources)
        if member.params["anything"] == "leak":
            leaked = result.value["score"] + 0.1 * len(members)
            result = replace(result, value={**result.value, "score": leaked})
        yield {index: result}


def shared(toy, *space, **keys):
    sweep = toy.sweep(list(space), **keys)
    return {**sweep, "pipeline": "tests.orchestrator.test_verify:SHARING"}


SOUND = {"value": [1, 2, 3], "group": 1}
LONE = {"value": 7, "group": 2}
LEAKY = {"value": [4, 5], "group": 3, "anything": "leak"}


def files_in(folder):
    """Return every file below a folder with its time and size."""
    found = (Path(at) / name for at, _, names in os.walk(folder) for name in names)
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in found}


# Labels


def labels(results):
    return Counter((r.trial.params["group"], str(r.fidelity)) for r in results)


def test_a_shared_trial_says_so_everywhere_and_a_lone_one_is_exact(toy, backend, fanflare):
    sweep = shared(toy, SOUND, LONE)
    expected = {(1, "equal"): 3, (2, "exact"): 1}
    computed = run(sweep, backend=backend)
    assert labels(computed.results) == expected
    from_store = run(sweep, backend="inline")
    assert from_store.num_reused == 4
    for made in (from_store, report(sweep)):
        assert labels(made.results) == expected
        for result in made.results:
            assert trial_record(result).tags["fanflare.fidelity"] == str(result.fidelity)
    rows = {row["id"]: row["fidelity"] for row in sweep_status(open_sweep(sweep)).trials}
    assert rows == {r.trial.id: str(r.fidelity) for r in computed.results}
    file = sweep_file(Path(toy.store).parent, sweep)
    shown = fanflare("report", file, "--json").json["trials"]
    assert {row["trial_id"]: row["fidelity"] for row in shown} == rows
    assert "1 exact, 3 equal" in fanflare("report", file).out


def test_without_sharing_every_trial_is_exact(toy):
    made = run(shared(toy, SOUND, LONE, sharing="off"), backend="inline")
    assert {result.fidelity for result in made.results} == {Fidelity.EXACT}


def test_a_trial_that_is_not_finished_has_no_label(toy):
    sweep = shared(toy, {"value": [1, 2], "fail": ["", "raise"]})
    made = run(sweep, backend="inline")
    rows = [*made.to_json()["trials"], *sweep_status(open_sweep(sweep)).trials]
    assert {(row["state"], row["fidelity"] is None) for row in rows} == {
        ("FINISHED", False),
        ("FAILED", True),
    }
    tags = [trial_record(r).tags for r in made.results if r.state is State.FAILED]
    assert not any("fanflare.fidelity" in each for each in tags)


# The verb


def test_a_sound_sweep_holds_and_its_store_stays_as_it_is(toy, fanflare, tmp_path):
    sweep = shared(toy, SOUND, LONE)
    run(sweep, backend="inline")
    before, prepared = files_in(toy.store), toy.num_executed("prepare")
    ended = fanflare("verify", sweep_file(tmp_path, sweep), "--json")
    assert ended.code == 0
    assert {row["fidelity"]: row["ok"] for row in ended.json["trials"]} == {
        "equal": True,
        "exact": True,
    }
    assert len(ended.json["trials"]) == ended.json["num_finished"] == 4
    assert files_in(toy.store) == before
    assert toy.num_executed("work") == 8
    assert toy.num_executed("prepare") == prepared  # taken over: nobody shared in its making


def test_a_leak_between_members_is_found_and_named(toy, fanflare, tmp_path):
    sweep = shared(toy, SOUND, LONE, LEAKY)
    made = run(sweep, backend="inline")
    leaky = {r.trial.id for r in made.results if r.trial.params["anything"] == "leak"}
    ended = fanflare("verify", sweep_file(tmp_path, sweep), "--sample", 6, "--json")
    assert ended.code == 1
    broken = {row["trial"]: row for row in ended.json["trials"] if not row["ok"]}
    assert broken.keys() == leaky
    for row in broken.values():
        assert any(fault.startswith("test/score is ") for fault in row["faults"])
    shown = fanflare("verify", tmp_path / "sweep.yaml", "--sample", 3)
    assert shown.code == 1
    assert "3 of 6 finished trials run alone, 1 broken" in shown.out
    assert any(trial in shown.out for trial in leaky)
    assert "running 1 of 3 alone" in shown.err


def test_an_exact_trial_must_come_out_bitwise(toy, monkeypatch):
    sweep = shared(toy, LONE)
    run(sweep, backend="inline")
    assert verify(sweep).exit_code == 0
    monkeypatch.setattr("tests.toy.work", shifted_work)
    (check,) = verify(sweep).checks
    assert check.label is Fidelity.EXACT
    assert check.faults


def shifted_work(context, members, inputs, sources):
    (result,) = work(context, members, inputs, sources)
    return [replace(result, value={**result.value, "score": result.value["score"] + 1e-12})]


def test_a_rerun_that_fails_is_a_broken_label(toy, monkeypatch):
    sweep = shared(toy, SOUND)
    run(sweep, backend="inline")
    monkeypatch.setattr("tests.toy.work", raising_work)
    found = verify(sweep, VerifyOptions(sample=1))
    assert found.exit_code == 1
    assert found.checks[0].faults == ("the rerun failed: ValueError: no more",)


def raising_work(*arguments):
    raise ValueError("no more")


def test_trials_that_are_not_finished_are_skipped_and_counted(toy, fanflare, tmp_path):
    sweep = shared(toy, {"value": [1, 2], "fail": ["", "raise"]})
    file = sweep_file(tmp_path, sweep)
    ended = fanflare("verify", file)
    assert ended.code == 2
    assert "none of the 4 trials of sweep 'toy' is finished" in ended.err
    run(sweep, backend="inline")
    assert "2 of 2 finished trials run alone, 0 broken, 2 not finished" in (
        fanflare("verify", file).out
    )
    assert fanflare("verify", file, "--sample", 0).code == 2


# A sweep of real probes


@pytest.fixture(scope="module")
def probes(tmp_path_factory):
    """A sweep of probes over classes and numbers, and of a model trained whole."""
    folder = tmp_path_factory.mktemp("probes")
    return {
        "name": "probes",
        "models": {"name": "tiny-bert", "source": str(save_bert(folder / "model"))},
        "tasks": [
            {"name": kind, "source": str(save_task(folder / f"{kind}.csv", kind=kind))}
            for kind in ("class", "number")
        ],
        "train_size": 48,
        "validation_size": 24,
        "test_size": 24,
        "seeds": 2,
        "space": [
            {"method": "probe", "learning_rate": [0.01, 0.1], "epochs": 4},
            {"method": "full", "tasks": "class", "seeds": 1, "epochs": 1, "learning_rate": 1e-3},
        ],
        "tracking": "off",
    }


def test_probes_that_were_trained_together_hold_against_probes_alone(probes, tmp_path):
    made = run(probes, backend="inline", store=str(tmp_path))
    assert Counter(str(r.fidelity) for r in made.results) == {"equal": 8, "exact": 1}
    found = verify(probes, VerifyOptions(store=str(tmp_path), sample=9))
    assert found.exit_code == 0, [check.faults for check in found.checks]
    for check in found.checks:
        assert check.differences.scores <= (1e-5 if check.label is Fidelity.EQUAL else 0)


def test_probes_that_got_another_ones_result_are_found(probes, tmp_path, monkeypatch):
    whole = probing.probe_together

    def mixed_up(context, members: list[CohortMember]):
        (ended,) = whole(context, members)
        yield {index: ended[(index + 1) % len(members)] for index in ended}

    monkeypatch.setattr(probing, "probe_together", mixed_up)
    run(probes, backend="inline", store=str(tmp_path))
    found = verify(probes, VerifyOptions(store=str(tmp_path)))
    assert {check.trial.method: bool(check.faults) for check in found.checks} == {
        "probe": True,
        "full": False,
    }
    assert {check.trial.task for check in found.checks} == {"class", "number"}
    assert not any(check.is_unstable for check in found.checks)


def test_what_loading_and_tokenising_gave_is_taken_over(probes, tmp_path):
    run(probes, backend="inline", store=str(tmp_path))
    workspace = open_sweep(probes, str(tmp_path))
    records = workspace.store.find(workspace.nodes)
    for trial in workspace.trials:
        again = stages_to_recompute(trial, workspace.nodes, records)
        names = [workspace.nodes[digest].stage.name.partition("/")[2] for digest in again]
        trained = ["encode", "probe"] if trial.method == "probe" else ["finetune"]
        assert names == [*trained, "evaluate"]


# The sample


def result(number, label=Fidelity.EXACT):
    trial = Trial(
        id=str(number), model="m", task="t", params={}, seed=0, metric="", mode="max",
        result_digest=str(number), stages=(),
    )  # fmt: skip
    return TrialResult(trial=trial, state=State.FINISHED, fidelity=label)


def test_every_stratum_has_a_trial_before_any_has_two():
    results = [result(n) for n in range(100)]

    def strata(each):
        number = int(each.trial.id)
        return frozenset({("kind", "rare" if number < 3 else "common"), ("odd", str(number % 2))})

    drawn = [sample(results, strata, VerifyOptions(sample=2, seed=seed)) for seed in range(20)]
    for two in drawn:
        assert frozenset().union(*map(strata, two)) == {
            ("kind", "rare"), ("kind", "common"), ("odd", "0"), ("odd", "1"),
        }  # fmt: skip
    again = sample(results, strata, VerifyOptions(sample=2, seed=3))
    assert again == drawn[3]
    assert len({two[0].trial.id for two in drawn}) > 5
    assert len(sample(results, strata, VerifyOptions(sample=500))) == 100


# What counts as the same


def predicted(scores, predictions=None, **columns):
    rows = len(scores)
    best = [None if s is None else s.index(max(s)) for s in scores]
    return pa.table(
        {
            "split": pa.array(["test"] * rows).dictionary_encode(),
            "row": list(range(rows)),
            "prediction": predictions or [-1 if b is None else b for b in best],
            "scores": pa.array(scores, pa.list_(pa.float32(), 2)),
            **columns,
        }
    )


def compared(ours, theirs, bound=EQUAL, kept=0.5, alone=0.5):
    return compare(
        Result(metrics={"test/accuracy": kept}, predictions=ours),
        Result(metrics={"test/accuracy": alone}, predictions=theirs),
        bound,
    )


def test_a_near_tie_may_flip_and_takes_its_metric_along():
    ours = predicted([[0.5, 0.5002], [2.0, 1.0]])
    theirs = predicted([[0.5002, 0.5], [2.0, 1.0]])
    found = compared(ours, theirs, alone=1.0)
    assert not found.faults
    assert found.num_flipped == 1
    assert found.scores == pytest.approx(2e-4, rel=0.01)
    assert found.metrics == 0.5
    assert compared(ours, theirs, EXACT).faults


def test_a_flip_that_the_scores_do_not_explain_is_a_fault():
    scores = [[0.5, 0.9], [2.0, 1.0]]
    (fault,) = compared(predicted(scores, [0, 0]), predicted(scores)).faults
    assert "1 rows are of another class" in fault


def test_the_same_classes_have_the_same_metrics():
    scores = [[0.5, 0.9], [2.0, 1.0]]
    (fault,) = compared(predicted(scores), predicted(scores), alone=0.501).faults
    assert fault == "test/accuracy is 0.5, alone 0.501"


def test_differences_of_large_scores_are_relative():
    assert not compared(predicted([[100.0, 1.0]]), predicted([[100.05, 1.0]])).faults
    assert compared(predicted([[0.1, 0.05]]), predicted([[0.15, 0.05]])).faults


def test_words_without_a_token_and_scores_that_are_no_numbers_compare():
    scores = [[0.5, 0.9], None, [float("nan"), 1.0]]
    same = compared(predicted(scores), predicted(scores), EXACT)
    assert (same.scores, same.faults) == (0.0, ())
    other = compared(predicted(scores), predicted([[0.5, 0.9], [0.0, 0.0], scores[2]]))
    assert other.scores == float("inf")
    assert other.faults


def test_other_rows_are_no_comparison():
    one = predicted([[0.5, 0.9]])
    assert compared(one, predicted([[0.5, 0.9]] * 2)).faults
    assert compared(one, one.set_column(1, "row", [[5]])).faults
    assert compared(one, None).faults


def test_a_constant_prediction_has_no_correlation_that_could_be_compared():
    def numbers(*values):
        return pa.table({"split": ["test"] * len(values), "prediction": list(values)})

    constant = numbers(0.5, 0.5000001), numbers(0.5000001, 0.5)
    assert not compared(*constant, kept=0.9, alone=-0.9).faults
    assert compared(numbers(0.1, 0.9), numbers(0.1, 0.9), kept=0.9, alone=-0.9).faults


def test_on_an_accelerator_exact_means_equal_within_rounding():
    assert bound_of(Fidelity.EXACT) == EXACT
    assert bound_of(Fidelity.EXACT, has_accelerator=True) == EQUAL
    in_bf16 = bound_of(Fidelity.EXACT, has_accelerator=True, is_bf16=True)
    assert in_bf16 == bound_of(Fidelity.EQUAL, has_accelerator=True, is_bf16=True) != EQUAL


@pytest.mark.parametrize("label", [Fidelity.STATISTICAL, Fidelity.ADAPTIVE])
def test_a_label_about_many_trials_has_no_bound_on_one(label):
    bound = bound_of(label)
    assert bound is None
    found = compared(predicted([[0.0, 9.0]]), predicted([[9.0, 0.0]]), bound, alone=1.0)
    assert found.faults == ()
    assert found.scores > 0.9
