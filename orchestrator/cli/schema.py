"""`fanflare schema`: the JSON schema of a sweep file or a profile, for editors."""

from __future__ import annotations

from typing import Annotated

import typer

from cluster.profile import Profile
from orchestrator.cli.console import print_json
from orchestrator.planning.schema import DRAFT, sweep_schema

NAME = "schema"


def schema(
    profile: Annotated[
        bool, typer.Option("--profile", help="Of the profile of a cluster instead.")
    ] = False,
) -> None:
    """Print the JSON schema of sweep files, by which editors complete and check them."""
    if profile:
        print_json({**Profile.model_json_schema(), "$schema": DRAFT, "title": "fanflare profile"})
    else:
        print_json(sweep_schema())
