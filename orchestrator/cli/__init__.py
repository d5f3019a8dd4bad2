"""The door: one small file a verb. Nothing here computes; each parses, calls, and renders."""

from orchestrator.cli.app import main

__all__ = ["main"]
