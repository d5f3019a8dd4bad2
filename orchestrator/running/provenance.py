"""Says what results came from: the sweep file, versions, the machine, models and data; no score."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import Any

from cluster.job import State
from cluster.machine import machine_facts
from orchestrator.planning.trial import TrialResult
from orchestrator.running.accounts import runs
from orchestrator.running.journal import Event
from orchestrator.running.power import Power
from orchestrator.running.redaction import redact, redact_json
from orchestrator.running.workspace import Workspace
from pipelines.contract import Node

PACKAGES = ("fanflare", "ray", "torch", "transformers", "datasets", "mlflow", "numpy")
"""Of which a run notes the version: those that results depend on."""


def run_facts(power: Power | None) -> dict[str, Any]:
    """Return what a run notes of itself in the journal: versions, and the machine it runs on.

    Args:
        power: By which the energy of its stages is told; None where it computes none.
    """
    machine = machine_facts()
    if power is not None:
        machine |= {"power": {name: round(watts, 3) for name, watts in asdict(power).items()}}
    return {"versions": dict(_versions()), "machine": machine}


def _versions() -> Iterator[tuple[str, str]]:
    yield "python", python_version()
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def provenance(
    workspace: Workspace, events: Sequence[Event], results: Iterable[TrialResult]
) -> dict[str, Any]:
    """Return what a sweep's results came from, without secrets; the keys are in docs/json.md.

    Versions and machine are those of the last run that noted them.
    """
    noted = [e.detail for e in events if e.kind == "sweep_started" and "versions" in e.detail]
    facts = noted[-1] if noted else {}
    times = runs(events)
    file = workspace.file
    return {
        "sweep_file": redact(file.text) or json.dumps(redact_json(file.data), indent=1),
        "versions": dict(facts.get("versions", {})),
        "machine": dict(facts.get("machine", {})),
        "models": _models(workspace),
        "tasks": _tasks(workspace, results),
        "started_at": times[0][0] if times else None,
        "ended_at": times[-1][1] if times else None,
        "num_runs": len(times),
        "changed_since": workspace.changed_since,
        "is_past": workspace.is_past,
    }


def _models(workspace: Workspace) -> list[dict[str, Any]]:
    """Return the models that were named in the sweep, and those on which made ones rest."""
    return [
        {"name": name, "digest": source.digest, "source": redact(str(source.source))}
        for name, source in _sources(workspace.nodes.values(), "model").items()
    ]


def _tasks(workspace: Workspace, results: Iterable[TrialResult]) -> list[dict[str, Any]]:
    rows = _num_rows(workspace, results)
    return [
        {
            "name": name,
            "digest": source.digest,
            "source": redact(str(source.source)),
            "num_rows": rows.get(name, {}),
        }
        for name, source in _sources(workspace.nodes.values(), "task").items()
    ]


def _sources(nodes: Iterable[Node], role: str) -> dict[str, Any]:
    """Return what nodes have in a role, by name; only what says where it comes from."""
    found = {s.name: s for node in nodes if (s := node.sources.get(role)) is not None}
    return {name: source for name, source in found.items() if getattr(source, "source", None)}


def _num_rows(
    workspace: Workspace, results: Iterable[TrialResult]
) -> Mapping[str, Mapping[str, int]]:
    """Return the rows of each split by task, as the first finished trial on it has used them."""
    first: dict[str, TrialResult] = {}
    for result in results:
        if result.state is State.FINISHED and result.trial.task:
            first.setdefault(result.trial.task, result)
    stages = {task: result.trial.stages for task, result in first.items()}
    records = workspace.store.find({digest for found in stages.values() for digest in found})
    return {
        task: {
            part["split"]: part["num_rows"]
            for digest in digests
            if digest in records
            for part in records[digest].value.get("datasets", ())
        }
        for task, digests in stages.items()
    }
