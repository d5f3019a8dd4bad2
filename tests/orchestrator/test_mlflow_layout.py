"""What people find of a sweep in MLflow: configs and their curves, models, the sweep's own page."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest

from cluster.job import Cause, Failure, State
from orchestrator.comparing.report import Report
from orchestrator.planning.trial import Trial, TrialResult, TrialUsage
from orchestrator.running.past import Past, past_summary
from orchestrator.running.tracking import SweepInfo
from orchestrator.running.tracking.records import trial_record
from tests.mlflow_records import models_of
from tests.tracking_places import Place, result_of

RATES = {0.003: 0.8, 0.03: 0.7}
"""Learning rates, and the score about which their seeds lie."""
STEPS = (10, 20, 30)


def trials(
    seeds: Sequence[int] = (1, 2, 3), *, gain: float = 0.0, tasks: Sequence[str] = ("bbc-news",)
) -> list[TrialResult]:
    """Return the results of two configs a task; `gain` is what the second one is better by."""
    return [
        _trial(task, rate, seed, score + (gain if rate == 0.03 else 0) + seed / 100)
        for task in tasks
        for rate, score in RATES.items()
        for seed in seeds
    ]


def _trial(task: str, rate: float, seed: int, score: float) -> TrialResult:
    number = round(rate * 1e5) + seed
    trial = Trial(
        id=f"{task[0]}{number:015x}",
        model="mini-lm",
        task=task,
        params={"method": "probe", "learning_rate": rate, "epochs": 3},
        seed=seed,
        metric="accuracy",
        mode="max",
        result_digest=f"{number:064x}",
        stages=(),
    )
    splits = {"train": 100, "validation": 20, "test": 30}
    return TrialResult(
        trial=trial,
        state=State.FINISHED,
        metrics={"validation/accuracy": score, "test/accuracy": score - 0.05, "test/loss": 0.5},
        curve=[{"step": s, "epoch": s // 10, "train/loss": seed / s} for s in STEPS],
        datasets=[
            {"name": task, "digest": "d" * 64, "split": s, "num_rows": n, "source": "pypi:x"}
            for s, n in splits.items()
        ],
        started_at=1_700_000_000 + 10 * seed,
        ended_at=1_700_000_005 + 10 * seed,
        duration_s=5.0,
    )


def show(place: Place, sweep: str, results: list[TrialResult]) -> None:
    """Write a sweep as the end of a run does."""
    tracker = place.tracker()
    tracker.start(SweepInfo(name=sweep, id=sweep, files={"sweep.yaml": "name: x\n"}), results)
    summary = past_summary(Report(sweep, State.FINISHED, results), Past(ended_at=time.time()))
    tracked = tracker.finish(State.FINISHED, summary)
    assert tracked.faults == ()
    assert tracked.is_complete


def configs(place: Place, sweep: str) -> list[Any]:
    """Return the runs that one search of the page gives, the best first."""
    client = place.client()
    experiment = client.get_experiment_by_name(sweep)
    return list(
        client.search_runs(
            [experiment.experiment_id],
            "tags.`fanflare.kind` = 'config'",
            order_by=["metrics.`rank` ASC"],
        )
    )


def test_a_config_is_a_child_with_its_numbers_over_seeds(place: Place) -> None:
    results = trials()
    show(place, "configs", results)

    best, second = configs(place, "configs")
    assert best.info.run_name == "probe learning_rate=0.003 on bbc-news"
    assert best.info.status == "FINISHED"
    (parent,) = place.runs("configs", "sweep")
    assert best.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert best.data.tags["fanflare.is_tied"] == "true"
    assert second.data.tags["fanflare.is_tied"] == "false"
    scores = [r.metrics["validation/accuracy"] for r in results[:3]]
    metrics = best.data.metrics
    assert metrics["validation/mean"] == metrics["validation/accuracy"]
    assert metrics["validation/mean"] == pytest.approx(fmean(scores))
    assert metrics["validation/std"] == pytest.approx(stdev(scores))
    assert metrics["validation/n"] == 3
    # 4.303 is the quantile of Student's t for two degrees of freedom.
    half = 4.303 * stdev(scores) / 3**0.5
    assert metrics["validation/ci_low"] == pytest.approx(fmean(scores) - half, abs=1e-4)
    assert metrics["validation/ci_high"] == pytest.approx(fmean(scores) + half, abs=1e-4)
    assert metrics["test/mean"] == pytest.approx(fmean(scores) - 0.05)
    assert [run.data.metrics["rank"] for run in (best, second)] == [1, 2]
    assert best.data.params["learning_rate"] == "0.003"
    assert {i.tags[0].value for i in best.inputs.dataset_inputs} == {"train", "validation", "test"}


def test_its_curve_lies_over_those_of_its_trials(place: Place) -> None:
    show(place, "curves", trials())
    best, _ = configs(place, "curves")
    own = [
        run
        for run in place.runs("curves", "trial")
        if run.data.tags["fanflare.config_id"] == best.data.tags["fanflare.config_id"]
    ]
    drawn = [dict(place.history(run, "train/loss")) for run in own]
    assert len(drawn) == 3
    means = place.history(best, "train/loss")
    assert means == [(s, pytest.approx(fmean(curve[s] for curve in drawn))) for s in STEPS]


def test_what_a_script_calls_as_we_do_stays_with_its_trials(place: Place) -> None:
    made = [
        replace(r, metrics={**r.metrics, "validation/n": 17.0, "validation/std": 0.5})
        for r in trials()
    ]
    show(place, "own names", made)
    best, _ = configs(place, "own names")
    assert best.data.metrics["validation/n"] == 3
    assert best.data.metrics["validation/std"] == pytest.approx(0.01)
    assert place.runs("own names", "trial")[0].data.metrics["validation/n"] == 17


def test_new_seeds_draw_a_config_anew_and_keep_what_people_wrote_on_it(place: Place) -> None:
    show(place, "grown configs", trials((1, 2)))
    old, _ = configs(place, "grown configs")
    place.client().set_tag(old.info.run_id, "mlflow.note.content", "promising")
    place.client().set_tag(old.info.run_id, "reviewed", "yes")

    show(place, "grown configs", trials((1, 2, 3)))

    best, _ = configs(place, "grown configs")
    assert len(place.runs("grown configs", "config")) == 2
    assert best.data.metrics["validation/n"] == 3
    assert [step for step, _ in place.history(best, "train/loss")] == list(STEPS)
    assert best.data.tags["mlflow.note.content"] == "promising"
    assert best.data.tags["reviewed"] == "yes"
    models = models_of(place.uri, "grown configs")
    assert [model["source"] for model in models.values()] == [
        ("config", best.data.tags["fanflare.config_id"])
    ]


def test_a_rank_changes_in_place_where_only_the_others_have_changed(place: Place) -> None:
    results = trials()
    show(place, "ranks", results[:3])
    (alone,) = configs(place, "ranks")
    assert alone.data.metrics["rank"] == 1

    show(place, "ranks", [*results[:3], *trials(gain=0.5)[3:]])

    winner, loser = configs(place, "ranks")
    assert loser.info.run_id == alone.info.run_id
    assert loser.data.metrics["rank"] == 2
    assert loser.info.status == "FINISHED"
    assert loser.data.tags["fanflare.is_tied"] == "false"
    assert winner.data.params["learning_rate"] == "0.03"


def test_a_config_that_left_the_sweep_is_kept_and_ranks_no_more(place: Place) -> None:
    results = trials()
    show(place, "narrowed", results)
    (left, _) = configs(place, "narrowed")
    place.client().set_tag(left.info.run_id, "mlflow.note.content", "promising")

    show(place, "narrowed", results[3:])

    (alone,) = configs(place, "narrowed")
    assert alone.data.params["learning_rate"] == "0.03"
    assert alone.data.metrics["rank"] == 1
    assert "fanflare.is_tied" not in alone.data.tags, "there is no other to be tied with"
    (former,) = place.runs("narrowed", "former config")
    assert former.info.run_id == left.info.run_id
    assert former.data.tags["mlflow.note.content"] == "promising"
    assert {run.data.params["learning_rate"] for run in place.runs("narrowed", "trial")} == {"0.03"}
    assert len(place.runs("narrowed", "former trial")) == 3
    (parent,) = place.runs("narrowed", "sweep")
    assert parent.data.metrics["num_trials"] == 3

    show(place, "narrowed", results)

    ranks = {run.info.run_id: run.data.metrics["rank"] for run in configs(place, "narrowed")}
    assert ranks == {left.info.run_id: 1, alone.info.run_id: 2}
    assert len(place.runs("narrowed", "trial")) == 6
    assert place.runs("narrowed", "former config") == place.runs("narrowed", "former trial") == []


def test_a_seed_that_left_the_sweep_counts_no_more(place: Place) -> None:
    results = trials()
    show(place, "fewer seeds", results)
    show(place, "fewer seeds", [result for result in results if result.trial.seed != 2])

    assert len(place.runs("fewer seeds", "former trial")) == 2
    assert len(place.runs("fewer seeds", "config")) == 2
    best, _ = configs(place, "fewer seeds")
    assert best.data.metrics["validation/n"] == 2
    # The curves are seed / step.
    assert place.history(best, "train/loss") == [(s, pytest.approx(2 / s)) for s in STEPS]
    (model,) = models_of(place.uri, "fewer seeds").values()
    values = {name: value for name, _, _, value, _ in model["metrics"]}
    assert values["validation/std"] == best.data.metrics["validation/std"]


def test_writing_the_same_again_changes_nothing(place: Place) -> None:
    show(place, "twice", trials())
    before = {r.info.run_id: place.history(r, "rank") for r in configs(place, "twice")}
    show(place, "twice", trials())
    assert {r.info.run_id: place.history(r, "rank") for r in configs(place, "twice")} == before
    assert len(models_of(place.uri, "twice")) == 1


def test_a_chosen_config_is_a_model_with_numbers_for_each_data_set(place: Place) -> None:
    show(place, "models", trials(tasks=("bbc-news", "reuters")))

    models = models_of(place.uri, "models")
    assert set(models) == {"mini-lm probe on bbc-news", "mini-lm probe on reuters"}
    model = models["mini-lm probe on reuters"]
    assert model["status"] == "READY"
    assert model["type"] == "probe"
    assert model["params"]["learning_rate"] == "0.003"
    values = {name: (value, dataset) for name, _, _, value, dataset in model["metrics"]}
    assert values["validation/accuracy"] == (pytest.approx(0.82), "reuters")
    assert values["test/accuracy"] == (pytest.approx(0.77), "reuters")
    for run in configs(place, "models"):
        is_chosen = run.data.metrics["rank"] == 1
        assert len(run.outputs.model_outputs) == is_chosen


def test_the_page_of_the_sweep_has_note_report_and_a_view_of_its_configs(place: Place) -> None:
    failure = Failure(Cause.OUT_OF_MEMORY, "CUDA out of memory\nand more")
    broken = trials((4,))[0]
    broken = TrialResult(
        trial=broken.trial, state=State.FAILED, failure=failure, ended_at=broken.ended_at
    )
    show(place, "page", [*trials(), broken])

    (parent,) = place.runs("page", "sweep")
    note = parent.data.tags["mlflow.note.content"]
    assert "| learning_rate=0.003 |" in note
    assert "0.820 ± 0.010" in note
    assert "1 trial, out of memory" in note
    assert len(note) < 5000
    folder = Path(place.client().download_artifacts(parent.info.run_id, ""))
    assert {"sweep.yaml", "report.json", "report.html", "leaderboard.json"} <= {
        path.name for path in folder.iterdir()
    }
    assert "<html" in (folder / "report.html").read_text()[:500].lower()
    assert json.loads((folder / "report.json").read_text())["counts"]["FAILED"] == 1
    experiment = place.client().get_experiment_by_name("page")
    view = json.loads(experiment.tags["mlflow.sharedViewState.fanflare"])
    assert "params.`learning_rate`" in view["selectedColumns"]
    assert "params.`epochs`" not in view["selectedColumns"], "the same everywhere"
    found = place.client().search_runs([experiment.experiment_id], view["searchFilter"])
    assert len(found) == 2


def test_what_was_used_is_summed_and_of_peaks_the_highest_is_told(place: Place) -> None:
    results = [
        replace(
            result,
            usage=TrialUsage(cpu_s=2.0, peak_memory_gib=0.1 * number, energy_kwh=0.01),
        )
        for number, result in enumerate(trials((1, 2)), start=1)
    ]
    show(place, "usage", results)

    names = [f"system/{name}" for name in ("cpu_s", "peak_memory_gib", "energy_kwh")]
    (parent,) = place.runs("usage", "sweep")
    best, _ = configs(place, "usage")
    (first,) = (
        run
        for run in place.runs("usage", "trial")
        if run.data.tags["fanflare.trial_id"] == results[0].trial.id
    )
    assert [first.data.metrics[name] for name in names] == pytest.approx([2, 0.1, 0.01])
    assert [best.data.metrics[name] for name in names] == pytest.approx([4, 0.2, 0.02])
    assert [parent.data.metrics[name] for name in names] == pytest.approx([8, 0.4, 0.04])
    assert "system/gpu_s" not in first.data.metrics, "not measured"


@pytest.mark.parametrize(
    ("model", "task", "params", "name"),
    [
        ("mini-lm", "bbc-news", {"method": "probe"}, "probe · bbc-news · seed 1"),
        ("mini-lm", "bbc-news", {}, "mini-lm · bbc-news · seed 1"),
        ("", "", {"lr": 0.1, "depth": 2}, "lr=0.1 depth=2 · seed 1"),
        (
            "",
            "",
            {"run": "python train.py --lr {lr}", "lr": 1},
            "lr=1 run=python train.py --lr {lr} · seed 1",
        ),
        ("", "", {}, "seed 1"),
    ],
)
def test_a_trial_is_called_by_what_it_has(
    model: str, task: str, params: dict[str, Any], name: str
) -> None:
    known = result_of(1)
    trial = Trial(**{**known.trial.__dict__, "model": model, "task": task, "params": params})
    assert trial_record(TrialResult(trial=trial, state=State.FINISHED)).name == name
