"""Computes a finished trial once more, by itself, in a store of its own; judges nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from cluster.artifact import Record
from cluster.job import Failure
from cluster.store import Store
from orchestrator.comparing.fidelity import Result
from orchestrator.planning.plan import planned_stage
from orchestrator.planning.trial import Trial
from orchestrator.running.work import Worker
from orchestrator.running.workspace import Workspace
from pipelines.contract import Node
from pipelines.labels import Fidelity, fidelity_of

PREDICTIONS = "predictions"
"""The table by which results are compared row by row; the last stage that has one counts."""

LEARNING_RATE = "learning_rate"
"""The param by which a training is moved; a stage that has it trains."""
MOVES = (1 + 2.0**-20, 1 - 2.0**-20, 1 + 2.0**-19)
"""What it is multiplied by, in turn: every step moves the weights by so much more or less. That is
some ten roundings in single precision, as another order of sums comes to. How far one of them
carries an unstable training is chance."""


class Rerun:
    """Computes trials alone in a store of its own.

    Args:
        workspace: The sweep.
        records: What its store has of it, by digest.
        folder: Where the own store lies.
    """

    def __init__(self, workspace: Workspace, records: Mapping[str, Record], folder: str) -> None:
        self._workspace = workspace
        self._records = records
        self._scratch = Store(folder)
        self._copied: set[str] = set()
        # The same resources as in the sweep: the number of threads is part of a sum's order.
        resources = workspace.sweep.resources.unshared()
        self._worker = Worker(resources=resources, store=folder)

    def kept(self, trial: Trial) -> Result:
        """Return what the sweep's store has of a trial."""
        return _result(trial, self._workspace.store, self._records)

    def alone(self, trial: Trial) -> Result | Failure:
        """Run a trial alone and return what it gives."""
        failure = self._compute(stages_to_recompute(trial, self._workspace.nodes, self._records))
        return failure or _result(trial, self._scratch, self._scratch.find(trial.stages))

    def moved(self, trial: Trial) -> Iterator[Result | Failure]:
        """Run a trial that was run alone again, each time moved by a few other roundings.

        Yields:
            What it gives, by each of :data:`MOVES`; nothing where no stage has a learning rate.
        """
        again = stages_to_recompute(trial, self._workspace.nodes, self._records)
        for factor in MOVES:
            moved = _moved_nodes([self._workspace.nodes[digest] for digest in again], factor)
            if trial.result_digest in moved:
                yield self._moved(trial, moved)

    def _moved(self, trial: Trial, moved: Mapping[str, Node]) -> Result | Failure:
        digests = tuple(moved[d].digest if d in moved else d for d in trial.stages)
        failure = self._run(list(moved.values()))
        return failure or _result(
            replace(trial, stages=digests, result_digest=moved[trial.result_digest].digest),
            self._scratch,
            self._scratch.find(digests),
        )

    def _compute(self, digests: Sequence[str]) -> Failure | None:
        nodes = self._workspace.nodes
        for digest in self._copied.intersection(digests):
            self._scratch.remove(digest)  # it was good enough for another trial
            self._copied.remove(digest)
        inputs = {i.digest for digest in digests for i in nodes[digest].inputs.values()}
        self._bring(inputs.difference(digests))
        return self._run([nodes[digest] for digest in digests])

    def _run(self, nodes: Sequence[Node]) -> Failure | None:
        outcomes = self._worker.run([planned_stage(node, 1) for node in nodes])
        return next((outcome.failure for outcome in outcomes if outcome.failure), None)

    def _bring(self, digests: set[str]) -> None:
        """Copy artifacts from the sweep's store."""
        for digest in digests - self._scratch.present(digests):
            record = self._records[digest]
            artifact = self._workspace.store.open(record)
            tables = [name.removesuffix(".arrow") for name in record.files if "arrow" in name]
            self._scratch.write(
                record, {name: artifact.table(name) for name in tables}, artifact.arrays
            )
            self._copied.add(digest)


def stages_to_recompute(
    trial: Trial, nodes: Mapping[str, Node], records: Mapping[str, Record]
) -> list[str]:
    """Return the digests of the stages that a rerun does not take from the sweep's store.

    These are all that may have been computed in a cohort or are not `exact`, the stage that trains
    or else works on an accelerator last, the one whose predictions are compared, and all that rest
    on one of them. The others (loading, tokenising, models that were made) are taken over.

    Args:
        trial: A finished trial.
        nodes: The sweep's nodes by digest.
        records: What the store has, by digest.

    Returns:
        Digests, inputs first.
    """
    trains = [digest for digest in trial.stages if nodes[digest].stage.needs_accelerator]
    again = {trial.result_digest, *trains[-1:], *_with_predictions(trial, records)}
    for digest in trial.stages:
        node, record = nodes[digest], records.get(digest)
        is_exact = record is None or fidelity_of(record.value) is Fidelity.EXACT
        rests_on_one = any(earlier.digest in again for earlier in node.inputs.values())
        if node.stage.can_share or not is_exact or rests_on_one:
            again.add(digest)
    needed = {trial.result_digest}
    for digest in reversed(trial.stages):
        if digest in needed and (digest in again or digest not in records):
            again.add(digest)
            needed.update(earlier.digest for earlier in nodes[digest].inputs.values())
    return [digest for digest in trial.stages if digest in again and digest in needed]


def _moved_nodes(nodes: Sequence[Node], factor: float) -> dict[str, Node]:
    """Return those that train, moved, and those that rest on one, by the digest they had."""
    moved: dict[str, Node] = {}
    for node in nodes:
        params, inputs = dict(node.params), dict(node.inputs)
        if isinstance(params.get(LEARNING_RATE), float):
            params[LEARNING_RATE] *= factor
        for role, earlier in node.inputs.items():
            inputs[role] = moved.get(earlier.digest, earlier)
        if (params, inputs) != (node.params, node.inputs):
            moved[node.digest] = replace(node, params=params, inputs=inputs)
    return moved


def _with_predictions(trial: Trial, records: Mapping[str, Record]) -> list[str]:
    """Return the digest of the last stage that has predictions, or nothing."""
    name = f"{PREDICTIONS}.arrow"
    having = [d for d in trial.stages if d in records and name in records[d].files]
    return having[-1:]


def _result(trial: Trial, store: Store, records: Mapping[str, Record]) -> Result:
    metrics = records[trial.result_digest].value.get("metrics", {})
    for digest in _with_predictions(trial, records):
        artifact = store.open(records[digest])
        return Result(metrics=metrics, predictions=artifact.table(PREDICTIONS))
    return Result(metrics=metrics)
