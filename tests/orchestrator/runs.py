"""What tests of whole runs read off a report or a journal."""

from collections import Counter

import pytest

from cluster.job import State
from cluster.store import Store
from orchestrator.running.journal import read_journal


def states(made):
    return dict(made.counts)


def scores(made):
    """Return `(value, seed) -> score` of the trials that finished."""
    return {
        (result.trial.params["value"], result.trial.seed): result.metrics["test/score"]
        for result in made.results
        if result.state is State.FINISHED
    }


def expected(values, seeds, group=0):
    return {(v, s): pytest.approx(group + v + s / 100 + 1) for v in values for s in seeds}


def failures(made):
    return {
        (result.trial.params["value"], result.trial.seed): result.failure
        for result in made.results
        if result.failure
    }


def kinds(toy, name="toy"):
    return Counter(event.kind for event in read_journal(Store(str(toy.store)), name))


class Watcher:
    """An observer that remembers."""

    def __init__(self):
        self.progress = None
        self.messages = []

    def changed(self, progress):
        self.progress = progress

    def message(self, text):
        self.messages.append(text)
