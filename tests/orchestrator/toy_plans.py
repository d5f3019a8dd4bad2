"""Sweeps of the toy pipeline, expanded and planned without a file or a store."""

from orchestrator.planning.grid import expand, parse
from orchestrator.planning.plan import Setting, make_plan, merge
from orchestrator.planning.sweep_file import SweepFile


def expanded(space, **keys):
    content = {"name": "toy", "pipeline": "tests.toy:TOY", "space": space, **keys}
    file = SweepFile(content)
    sweep = parse(file)
    return sweep, *merge(expand(sweep, file))


def trials_of(space, **keys):
    return expanded(space, **keys)[1]


def ids(space, **keys):
    return [trial.id for trial in trials_of(space, **keys)]


def planned(space, setting=None, **keys):
    return make_plan(*expanded(space, **keys), setting or Setting())
