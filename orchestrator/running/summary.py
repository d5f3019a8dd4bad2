"""A plan and a report as plain data, for the tracker and for `--json`; decides nothing."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.job import State
from orchestrator.comparing.curves import Curves, curves
from orchestrator.comparing.report import Report
from orchestrator.comparing.wording import format_params
from orchestrator.planning.packing import PlannedJob
from orchestrator.planning.plan import Plan
from orchestrator.planning.sharing import SharedGroup, shared_groups
from orchestrator.planning.trial import TrialResult
from orchestrator.running.note import chosen_rows, sweep_note
from orchestrator.running.redaction import redact
from orchestrator.running.tracking import ConfigSummary, SweepInfo, SweepSummary
from orchestrator.running.tracking.usage import sweep_usage, total_usage
from orchestrator.running.workspace import Workspace


def plan_json(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain data; the keys are documented in docs/json.md."""
    return {
        "sweep": plan.sweep.name,
        "trials": [
            {
                "id": trial.id,
                "model": trial.model,
                "task": trial.task,
                "method": trial.method,
                "params": dict(trial.params),
                "seed": trial.seed,
                "known": plan.is_known(trial),
            }
            for trial in plan.trials
        ],
        "stages": [
            {
                "name": stage.stage.name,
                "digest": stage.digest,
                "num_trials": stage.num_trials,
                "known": stage.digest in plan.known,
                "peak_memory_gib": stage.peak_memory_gib,
                "peak_gpu_memory_gib": stage.peak_gpu_memory_gib,
            }
            for stage in plan.stages.values()
        ],
        "jobs": [_job_json(job) for job in plan.jobs],
        "sharing": str(plan.sweep.sharing),
        "cohorts": [_cohort_json(group) for group in shared_groups(plan)],
        "estimate": None
        if plan.estimate is None
        else {
            "compute_s": plan.estimate.compute_s,
            "wall_s": plan.estimate.wall_s,
            "share_recorded": plan.estimate.share_recorded,
        },
    }


def _job_json(job: PlannedJob) -> dict[str, Any]:
    return {
        "id": job.id,
        "stages": list(job.stages),
        "needs": sorted(job.needs),
        "num_cpus": job.resources.num_cpus,
        "num_gpus": job.resources.num_gpus,
        "cost_s": job.cost_s,
    }


def _cohort_json(group: SharedGroup) -> dict[str, Any]:
    cohort = group.cohort
    return {
        "id": cohort.id,
        "stage": group.stage,
        "methods": list(group.methods),
        "models": list(group.models),
        "tasks": list(group.tasks),
        "shared": cohort.sharing.shared,
        "fidelity": str(cohort.sharing.fidelity),
        "num_trials": group.num_trials,
        "stages": list(cohort.stages),
        "jobs": list(group.jobs),
        "num_saved": group.num_saved,
        "alone_s": cohort.alone_s,
        "together_s": cohort.alone_s - group.saved_s,
        "is_recorded": cohort.is_recorded,
        "max_members": cohort.limit,
        "peak_memory_gib": cohort.peak_memory_gib,
        "peak_gpu_memory_gib": cohort.peak_gpu_memory_gib,
        "alone_memory_gib": cohort.alone_memory_gib,
        "alone_gpu_memory_gib": cohort.alone_gpu_memory_gib,
    }


def sweep_info(workspace: Workspace, plan_text: str, sweep_id: str) -> SweepInfo:
    """Return what the tracker shows while a sweep runs.

    Args:
        workspace: The sweep.
        plan_text: Its plan as JSON.
        sweep_id: What tells it from others of the same name.
    """
    text = workspace.file.text
    name = "sweep.yaml" if text else "sweep.json"
    return SweepInfo(
        name=workspace.sweep.name,
        id=sweep_id,
        params={"pipeline": workspace.sweep.pipeline},
        files={
            name: redact(text or json.dumps(workspace.file.data, indent=1)),
            "plan.json": plan_text,
        },
    )


def sweep_summary(report: Report) -> SweepSummary:
    """Return what the tracker shows of a finished sweep.

    Args:
        report: With the curves of its results.
    """
    from orchestrator.comparing.page.page import page  # noqa: PLC0415 - loads plotly

    data = report.to_json()
    results: dict[str, list[TrialResult]] = defaultdict(list)
    for result in report.results:
        results[result.trial.config_id].append(result)
    rows = [row for rows in data["leaderboard"]["tasks"].values() for row in rows]
    seeds_of = _SeedsOf(results, curves(report.results))
    return SweepSummary(
        note=sweep_note(data),
        metrics={
            "num_trials": len(report.results),
            **{f"num_{state.lower()}": count for state, count in report.counts.items()},
            **(sweep_usage(report.accounts) or total_usage(report.results)),
        },
        files={
            "leaderboard.csv": report.to_csv(),
            "report.json": json.dumps(data, indent=1),
            "report.html": page(report),
        },
        leaderboard=report.config_rows(),
        configs=[seeds_of.config(row) for row in rows],
        models={row["config_id"]: _model_name(row) for row in chosen_rows(data) if row["model"]},
        ids={result.trial.id for result in report.results} | results.keys(),
    )


class _SeedsOf:
    """The trials of each config, and what MLflow shows of them together."""

    def __init__(self, results: Mapping[str, Sequence[TrialResult]], means: Curves) -> None:
        self._results = results
        self._means = means
        trials = [seeds[0].trial for seeds in results.values()]
        self._has_models = len({trial.model for trial in trials}) > 1

    def config(self, row: Mapping[str, Any]) -> ConfigSummary:
        """Return the run of a row of the leaderboard."""
        seeds = self._results[row["config_id"]]
        started = [result.started_at for result in seeds if result.started_at]
        curve = _points(self._means.get(row["config_id"], {}))
        return ConfigSummary(
            config_id=row["config_id"],
            name=self._name(row),
            tags=_tags(row),
            params=_params(row, seeds),
            # Ours last: a script may call a metric `std` or `n` too.
            metrics={**_means(seeds), **_scores(row), "rank": row["rank"], **total_usage(seeds)},
            curve=curve,
            datasets=_datasets(seeds),
            state=_state(seeds),
            started_at=min(started, default=0.0),
            ended_at=max(result.ended_at for result in seeds),
        )

    def _name(self, row: Mapping[str, Any]) -> str:
        model = row["model"] if self._has_models or not row["method"] else ""
        label = " ".join(filter(None, (model, row["method"], format_params(row["params"]))))
        return f"{label} on {row['task']}".strip() if row["task"] else label or "config"


def _model_name(row: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (row["model"], row["method"], "on", row["task"])))


def _tags(row: Mapping[str, Any]) -> dict[str, str]:
    tags = {f"fanflare.{name}": row[name] for name in ("model", "task", "method", "metric")}
    tied = row["is_tied"]
    return tags if tied is None else {**tags, "fanflare.is_tied": str(tied).lower()}


def _params(row: Mapping[str, Any], seeds: Sequence[TrialResult]) -> dict[str, Any]:
    named = {name: row[name] for name in ("model", "task") if row[name]}
    return {**named, "metric": row["metric"], **seeds[0].trial.params}


def _scores(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the ranking metric under names that are the same for every metric and task."""
    return {
        f"{split}/{name}": value
        for split, scores in row["scores"].items()
        for name, value in _interval(scores).items()
    }


def _interval(scores: Mapping[str, Any]) -> dict[str, float]:
    low, high = scores["ci"] or (None, None)
    values = {"mean": scores["mean"], "std": scores["std"], "ci_low": low, "ci_high": high}
    return {**{n: v for n, v in values.items() if v is not None}, "n": scores["n"]}


def _means(seeds: Sequence[TrialResult]) -> dict[str, float]:
    """Return the mean of every final number over the seeds that have it."""
    values: dict[str, list[float]] = defaultdict(list)
    for result in seeds:
        if result.state is State.FINISHED:
            for name, value in {**result.metrics, "duration_s": result.duration_s}.items():
                values[name].append(value)
    return {name: sum(found) / len(found) for name, found in values.items()}


def _points(means: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return the curve of means as trials have theirs: one point a step, steps ascending."""
    steps: dict[int, dict[str, Any]] = defaultdict(dict)
    for name, points in means.items():
        for point in points:
            steps[point["step"]][name] = point["mean"]
    return [{"step": step, **steps[step]} for step in sorted(steps)]


def _datasets(seeds: Sequence[TrialResult]) -> Sequence[Mapping[str, Any]]:
    return next((result.datasets for result in seeds if result.datasets), ())


def _state(seeds: Sequence[TrialResult]) -> State:
    """Return the state of a config: finished as soon as one of its seeds is."""
    states = {result.state for result in seeds}
    return next((s for s in (State.FINISHED, State.FAILED) if s in states), State.KILLED)
