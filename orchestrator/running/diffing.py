"""Finds two trials and what the store has of them, and has them compared; computes nothing new."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cluster.job import State
from orchestrator.comparing.diff import SPLIT, Side, TrialDiff, diff
from orchestrator.planning.trial import Trial
from orchestrator.running.journal import read_journal
from orchestrator.running.predictions import StoredExamples
from orchestrator.running.results import stored_results
from orchestrator.running.trial_logs import find_trial
from orchestrator.running.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

PREDICTIONS = "predictions"
"""The table of a stage that predicts."""


def diff_trials(
    first: str, second: str, sweep: str | None = None, store: str | None = None
) -> TrialDiff:
    """Return what differs between two trials, of one sweep or of two.

    Args:
        first: A trial's id, or its beginning.
        second: Another's.
        sweep: Their sweep's file or name; by default every sweep in the store is searched.
        store: Where results are.

    Raises:
        UnknownNameError: No trial, or more than one, has such an id.
    """
    return diff(*(_side(*find_trial(prefix, sweep, store)) for prefix in (first, second)))


def _side(trial: Trial, workspace: Workspace) -> Side:
    plan = workspace.plan()
    stages = {digest: plan.stages[digest] for digest in trial.stages}
    events = read_journal(workspace.store, workspace.sweep.name)
    alone = replace(plan, trials=(trial,), stages=stages)
    (result,) = stored_results(alone, workspace.store, events)
    is_finished = result.state is State.FINISHED
    return Side(
        sweep=workspace.sweep.name,
        result=result,
        last=workspace.nodes[trial.result_digest],
        predictions=_predictions(trial, workspace) if is_finished else None,
        examples=StoredExamples(workspace)(result) if is_finished else None,
    )


def _predictions(trial: Trial, workspace: Workspace) -> pa.Table | None:
    """Return what a trial's last stage that predicts has said of the test split."""
    import pyarrow.compute as pc  # noqa: PLC0415 - a part of Arrow that few commands need

    records = workspace.store.find(trial.stages)
    for digest in reversed(trial.stages):
        if digest in records and f"{PREDICTIONS}.arrow" in records[digest].files:
            table = workspace.store.open(records[digest]).table(PREDICTIONS)
            if {"split", "prediction"} <= set(table.column_names):
                return table.filter(pc.equal(table["split"], SPLIT))
    return None
