"""Whether what a pipeline gave as the graph of a trial is one; plans nothing."""

from __future__ import annotations

from typing import Any

from orchestrator.planning.faults import shown
from pipelines.contract import Node, Stage, digest_of

_JSON = "None, truth values, texts, finite numbers, lists and dicts of these"


def graph_fault(last: Any) -> str:
    """Return why what a pipeline gave has no digest, without which nothing can be planned.

    Args:
        last: What should be the last node of a graph.

    Returns:
        What it gave and what is allowed, for people; an empty text if it can be used.
    """
    try:
        _ = last.digest
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        return _fault(last, ()) or f"{type(error).__name__}: {error}"
    return "" if isinstance(last, Node) else _fault(last, ())


def _fault(node: Any, users: tuple[Node, ...]) -> str:
    """Return what is wrong with a node or one before it; `users` need it, the last one first."""
    where = f"as an input of stage {users[0].stage.name!r}" if users else "as the last node"
    if not isinstance(node, Node):
        return f"{shown(node)} {where}; allowed: a Node of pipelines.contract"
    stage: Any = node.stage
    if not isinstance(stage, Stage):
        return f"a node of stage {shown(stage)}; allowed: a Stage of pipelines.contract"
    if any(node is user for user in users):
        return f"stage {node.stage.name!r} needs itself, {where}; allowed: inputs without a circle"
    for name, value in node.params.items():
        try:
            digest_of(value)
        except (TypeError, ValueError, RecursionError):
            given = f"param {name!r} of stage {node.stage.name!r} is {shown(value)}"
            return f"{given}; allowed: {_JSON}"
    faults = (_fault(earlier, (node, *users)) for earlier in node.inputs.values())
    return next(filter(None, faults), "")
