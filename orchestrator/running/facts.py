"""Adds to a report what its results took and came from; the comparison itself stays as it is."""

from __future__ import annotations

from dataclasses import asdict, replace

from orchestrator.comparing.report import Report
from orchestrator.running.accounts import accounts, shared_work
from orchestrator.running.journal import read_journal
from orchestrator.running.provenance import provenance
from orchestrator.running.workspace import Workspace


def with_facts(report: Report, workspace: Workspace) -> Report:
    """Return a report with accounts, provenance and what was shared, by journal and store."""
    events = list(read_journal(workspace.store, workspace.sweep.name))
    if not events:
        return report
    shared = shared_work(events, workspace.nodes, report.results)
    return replace(
        report,
        accounts=accounts(events, shared, workspace.sweep.energy.region).to_json(),
        provenance=provenance(workspace, events, report.results),
        shared=[asdict(item) for item in shared],
    )
