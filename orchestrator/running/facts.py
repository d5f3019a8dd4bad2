"""Adds to a report what its results took and came from; the comparison itself stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from orchestrator.comparing.report import Report
from orchestrator.running.accounts import accounts, shared_work
from orchestrator.running.journal import Event
from orchestrator.running.provenance import provenance
from orchestrator.running.workspace import Workspace


def with_facts(report: Report, workspace: Workspace, events: Sequence[Event]) -> Report:
    """Return a report with accounts, provenance and what was shared.

    Args:
        report: The comparison.
        workspace: The sweep.
        events: Its journal; empty where it was never run.
    """
    if not events:
        return report
    shared = shared_work(events, workspace.nodes, report.results)
    return replace(
        report,
        accounts=accounts(events, shared, workspace.sweep.energy.region).to_json(),
        provenance=provenance(workspace, events, report.results),
        shared=[asdict(item) for item in shared],
    )
