"""`fanflare schema`: the JSON schema of a sweep file, for editors."""

from __future__ import annotations

from orchestrator.cli.console import print_json
from orchestrator.planning.schema import sweep_schema

NAME = "schema"


def schema() -> None:
    """Print the JSON schema of sweep files, by which editors complete and check them."""
    print_json(sweep_schema())
