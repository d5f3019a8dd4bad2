"""`fanflare doctor`: what of this machine is not fit, and what to do about it."""

from __future__ import annotations

import sys

from rich.text import Text

from orchestrator.cli.console import ClusterOption, JsonOption, StoreOption, print_json, stdout
from orchestrator.running.checkup import examine
from orchestrator.submitting.checkup import examine_cluster
from orchestrator.submitting.profile_file import read_profile

NAME = "doctor"


def doctor(
    cluster: ClusterOption = None, store: StoreOption = None, json: JsonOption = False
) -> None:
    """Examine versions, disk, store, Ray and MLflow, or a cluster. Exit code 1 if any is unfit."""
    findings = []
    for finding in examine(store) if cluster is None else examine_cluster(read_profile(cluster)):
        findings.append(finding)
        if not json:
            mark = ("ok  ", "green") if finding.is_fit else ("no  ", "red")
            stdout().print(Text.assemble(mark, f"{finding.subject}: {finding.found}"))
            if not finding.is_fit:
                stdout().print(Text(f"    {finding.remedy}", "yellow"))
    if json:
        print_json({"findings": [finding.to_json() for finding in findings]})
    sys.exit(0 if all(finding.is_fit for finding in findings) else 1)
