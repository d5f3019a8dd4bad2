"""A plan and a report as plain data, for the tracker and for `--json`; decides nothing."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from orchestrator.comparing.leaderboard import SPLITS, ConfigRow
from orchestrator.comparing.report import Report, config_label
from orchestrator.planning.packing import PlannedJob
from orchestrator.planning.plan import Plan
from orchestrator.planning.sharing import SharedGroup, shared_groups
from orchestrator.planning.trial import TrialResult
from orchestrator.running.redaction import redact
from orchestrator.running.tracking import ConfigSummary, SweepInfo, SweepSummary
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
    }


def sweep_info(workspace: Workspace, plan: Plan, sweep_id: str) -> SweepInfo:
    """Return what the tracker shows while a sweep runs."""
    text = workspace.file.text
    name = "sweep.yaml" if text else "sweep.json"
    return SweepInfo(
        name=workspace.sweep.name,
        id=sweep_id,
        params={"pipeline": workspace.sweep.pipeline},
        files={
            name: redact(text or json.dumps(workspace.file.data, indent=1)),
            "plan.json": json.dumps(plan_json(plan), indent=1),
        },
    )


def sweep_summary(report: Report) -> SweepSummary:
    """Return what the tracker shows of a finished sweep."""
    results: dict[str, list[TrialResult]] = defaultdict(list)
    for result in report.results:
        results[result.trial.config_id].append(result)
    return SweepSummary(
        note=report.to_markdown(),
        metrics={
            "num_trials": len(report.results),
            **{f"num_{state.lower()}": count for state, count in report.counts.items()},
        },
        files={
            "leaderboard.csv": report.to_csv(),
            "report.json": json.dumps(report.to_json(), indent=1),
        },
        leaderboard=report.config_rows(),
        configs=[
            _config_summary(row, results[row.config_id])
            for rows in report.leaderboard.tasks.values()
            for row in rows
        ],
    )


def _config_summary(row: ConfigRow, results: list[TrialResult]) -> ConfigSummary:
    started = [result.started_at for result in results if result.started_at]
    metrics: dict[str, float] = {}
    for split in SPLITS:
        summary = row.scores[split]
        values: Mapping[str, float | None] = {"mean": summary.mean, "std": summary.std}
        metrics |= {
            f"{split}/{row.metric}_{name}": value
            for name, value in values.items()
            if value is not None
        }
        metrics[f"{split}/n"] = summary.n
    return ConfigSummary(
        config_id=row.config_id,
        name=f"{config_label(row)} on {row.task}" if row.task else config_label(row),
        tags={
            "fanflare.model": row.model,
            "fanflare.task": row.task,
            "fanflare.method": row.method,
        },
        params={"model": row.model, "task": row.task, **results[0].trial.params},
        metrics=metrics,
        started_at=min(started, default=0.0),
        ended_at=max(result.ended_at for result in results),
    )
