"""`fanflare manifest`: prints what `submit` would ask Kubernetes for, for kubectl or GitOps."""

from __future__ import annotations

import json as jsons
import sys
from typing import Annotated, Any

import typer
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from cluster.store import Store
from orchestrator.cli.console import (
    ClusterOption,
    JsonOption,
    SweepArgument,
    print_waiting,
    stderr,
)
from orchestrator.cli.submit import EXIT_BAD_INPUT, show_problems
from orchestrator.errors import SubmissionError
from orchestrator.running.saved_sweep import keep_bundle
from orchestrator.submitting.profile_file import read_profile, store_here
from orchestrator.submitting.submission import prepare

NAME = "manifest"


def manifest(
    sweep: SweepArgument,
    cluster: ClusterOption = None,
    number: Annotated[
        int, typer.Option(min=1, help="The how manieth submission of the sweep it is.")
    ] = 1,
    json: JsonOption = False,
) -> None:
    """Print the objects of a sweep for `kubectl apply --server-side`; the store gets its code.

    Exit codes: 0 printed, 2 bad input, or something that `submit` would not send either.
    """
    profile = read_profile(cluster)
    if profile.kind != "kubernetes":
        raise SubmissionError(
            f"a manifest is for the target 'kubernetes'; this profile says {profile.kind!r}"
        )
    prepared = prepare(sweep, profile, say=print_waiting)
    # Late: a command that sends nothing to Kubernetes need not know it.
    from cluster.kubernetes.manifest import manifests  # noqa: PLC0415
    from cluster.kubernetes.preflight import offline_problems  # noqa: PLC0415

    made = manifests(prepared.submission, profile, number=number)
    if problems := offline_problems(prepared.submission, profile, made):
        show_problems(problems)
        sys.exit(EXIT_BAD_INPUT)
    here = store_here(profile)
    if here is not None and "://" in here:
        keep_bundle(Store(here), prepared.submission.bundle)
        stderr().print(
            f"Its code and files are in the store: {prepared.submission.bundle.digest[:12]}"
        )
    if json:
        sys.stdout.write(jsons.dumps(made, indent=2) + "\n")
        return
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.width = 4096
    yaml.dump_all([_readable(item) for item in made], sys.stdout)


def _readable(value: Any) -> Any:
    """Return plain data whose long texts are written as they are read."""
    if isinstance(value, dict):
        return {key: _readable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_readable(item) for item in value]
    if isinstance(value, str) and "\n" in value:
        return LiteralScalarString(value)
    return value
