"""Which code of the user's own a pipeline needs elsewhere; reads sources, and imports none."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from cluster.bundle import package_files
from pipelines.contract import Node

PACKAGES = ("orchestrator", "pipelines", "cluster")
"""Our own code, which always travels."""
INSTALLED = {"site-packages", "dist-packages"}
"""Folders of what `pip` or a system has installed; an image has its own."""


def own_code(pipelines: Iterable[str], nodes: Iterable[Node]) -> dict[str, bytes]:
    """Return the files of the modules and packages that pipelines rest on, by path.

    These are the pipelines' own, those of their stages, and all that they import anywhere in their
    text, inside functions too, as far as they are not installed. Of a package it is the whole
    folder. An import whose name is made while the program runs is not seen.

    Args:
        pipelines: As `module:attribute`; one by a mere name is ours.
        nodes: All that is to be computed.
    """
    waiting = {_top(pipeline) for pipeline in pipelines if ":" in pipeline}
    for stage in {node.stage for node in nodes}:
        cohorts = (stage.cohort, stage.cohort_on_accelerator)
        waiting |= {_top(each.function) for each in (stage, *cohorts) if each is not None}
    seen = {*PACKAGES, *sys.stdlib_module_names, "__main__"}
    found: dict[str, bytes] = {}
    while waiting := waiting - seen:
        seen |= waiting
        files = {path: text for name in waiting for path, text in _files(name).items()}
        found |= files
        waiting = {
            name for path, text in files.items() if path.endswith(".py") for name in _imported(text)
        }
    return found


def _top(name: str) -> str:
    return name.partition(":")[0].partition(".")[0]


def _files(name: str) -> dict[str, bytes]:
    """Return the files of a module or package by its name, none if it is installed or not there."""
    spec = find_spec(name)
    if spec is None or (spec.origin is None and not spec.submodule_search_locations):
        return {}
    if spec.submodule_search_locations:
        root = Path(next(iter(spec.submodule_search_locations)))
        return {} if _is_installed(root) else package_files([name])
    path = Path(str(spec.origin))
    return {} if _is_installed(path) else {path.name: path.read_bytes()}


def _is_installed(path: Path) -> bool:
    place = path.resolve()
    return bool(INSTALLED & set(place.parts)) or place.is_relative_to(
        Path(sys.base_prefix).resolve()
    )


@lru_cache(maxsize=4096)
def _imported(source: bytes) -> frozenset[str]:
    """Return the first names of all modules that a source imports by their full name."""
    try:
        return frozenset(_top(name) for name in _imports(ast.parse(source)))
    except (SyntaxError, ValueError):  # a template, or a file for another Python
        return frozenset()


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
