"""What a sweep's runs have left in its store, told the same by whoever asks and whenever.

A run ends by showing this in MLflow, and `fanflare sync` shows it again: one place for both keeps
them identical.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from cluster.job import State
from orchestrator.comparing.report import Report
from orchestrator.planning.plan import Plan
from orchestrator.running.facts import with_facts
from orchestrator.running.journal import read_journal
from orchestrator.running.predictions import StoredExamples
from orchestrator.running.results import state_of, stored_results
from orchestrator.running.summary import plan_json, sweep_info, sweep_summary
from orchestrator.running.tracking import SweepInfo, SweepSummary
from orchestrator.running.tracking.detail import MAX_RUNS, Detail, detail_of
from orchestrator.running.workspace import SweepLike, Workspace, open_past

TRIALS_FILE = "trials.parquet"
"""The table of all trials among the artifacts of a sweep's run."""


@dataclass(frozen=True, kw_only=True)
class Past:
    """The runs of a sweep so far."""

    state: State = State.SCHEDULED
    """How the last one ended: KILLED if nothing tells, SCHEDULED if there was none."""
    started_at: float = 0.0
    """Unix time in seconds at which the first one began."""
    ended_at: float = 0.0
    """Unix time in seconds of the last thing that happened."""
    num_reused: int = 0
    """Trials whose result was there before the last one."""


def past_of(workspace: Workspace) -> Past:
    """Return what the journal of a sweep tells."""
    past = Past()
    for event in read_journal(workspace.store, workspace.sweep.name):
        if event.kind == "sweep_started":
            past = Past(state=State.KILLED, started_at=past.started_at or event.time)
        elif event.kind == "sweep_ended":
            state, num_reused = State(event.detail["state"]), event.detail.get("num_reused", 0)
            past = replace(past, state=state, num_reused=num_reused)
        past = replace(past, ended_at=event.time)
    return past


def report(given: SweepLike, *, store: str | None = None) -> Report:
    """Return the comparison of what a sweep has given so far; computes nothing.

    Where files that it names have changed since it ran, it is of the sweep as it ran.

    Raises:
        InvalidSweepError: The sweep has faults.
    """
    workspace = open_past(given, store)
    return stored_report(workspace, workspace.plan())


def stored_report(workspace: Workspace, plan: Plan, past: Past | None = None) -> Report:
    """Return the comparison of what the store has, curves and predictions included.

    Args:
        workspace: The sweep.
        plan: Its trials; what is known does not matter.
        past: As it was at the end of these runs; by default as it is now.
    """
    events = list(read_journal(workspace.store, workspace.sweep.name))
    results = list(stored_results(plan, workspace.store, events))
    if past is not None:
        # What a run was to compute and did not was killed with it.
        results = [r if r.state.is_final() else replace(r, state=State.KILLED) for r in results]
    num_finished = sum(result.state is State.FINISHED for result in results)
    report = Report(
        workspace.sweep.name,
        past.state if past else state_of(workspace.state(), results),
        results,
        past.num_reused if past else num_finished,
        read_examples=StoredExamples(workspace),
    )
    return with_facts(report, workspace, events)


def past_info(workspace: Workspace, sweep_id: str, past: Past) -> SweepInfo:
    """Return what the tracker shows of a sweep before its results."""
    detail = detail_of_sweep(workspace)
    info = sweep_info(workspace, saved_plan(workspace), sweep_id)
    tags = {**info.tags, "fanflare.detail": detail}
    return replace(info, tags=tags, detail=detail, started_at=past.started_at)


def past_summary(report: Report, past: Past) -> SweepSummary:
    """Return what the tracker shows of a sweep at its end.

    A table of all trials is part of it; no other file names each of them in a large sweep.
    """
    summary = sweep_summary(report)
    files = {**summary.files, TRIALS_FILE: report.to_parquet()}
    if len(report.results) > MAX_RUNS:
        content = {**report.to_json(), "trials": []}
        files["report.json"] = json.dumps(content, indent=1)
    # Ranks change with what joins and leaves a sweep: each run's are later than all before.
    configs = [replace(config, updated_at=past.ended_at) for config in summary.configs]
    return replace(summary, files=files, configs=configs, ended_at=past.ended_at)


def save_plan(workspace: Workspace, plan: Plan) -> None:
    """Keep the plan of a run in the store, where it is not too large to be of use to anyone."""
    content = plan_json(plan) if detail_of_sweep(workspace) == "trial" else {}
    workspace.store.write_bytes(_plan_path(workspace), json.dumps(content, indent=1).encode())


def saved_plan(workspace: Workspace) -> str:
    """Return the plan of the last run as JSON text, `{}` where none was kept."""
    try:
        return workspace.store.read_bytes(_plan_path(workspace)).decode()
    except OSError:
        return "{}"


def detail_of_sweep(workspace: Workspace) -> Detail:
    """Return what has a run of its own in MLflow."""
    tracking = workspace.sweep.tracking
    wanted = "auto" if tracking == "off" else tracking.detail
    num_configs = len({trial.config_id for trial in workspace.trials})
    return detail_of(wanted, len(workspace.trials), num_configs)


def _plan_path(workspace: Workspace) -> str:
    return f"sweeps/{workspace.sweep.name}/plan.json"
