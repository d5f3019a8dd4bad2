"""What differs between two trials and why: params, stages, metrics, predictions; reads no store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.planning.trial import TrialResult
from pipelines.contract import Node
from pipelines.example_scores import ExampleScores

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

SPLIT = "test"
"""The split whose predictions are compared."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two trials."""

    sweep: str
    """The sweep in which it was found."""
    result: TrialResult
    last: Node
    """The last node of its graph."""
    predictions: pa.Table | None = None
    """Its test predictions: `row`, `label`, `prediction` and more; None where it has none."""
    examples: ExampleScores | None = None
    """What each test example adds to the metric that ranks it."""

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the keys are documented in docs/json.md."""
        trial, usage = self.result.trial, self.result.usage
        return {
            "id": trial.id,
            "sweep": self.sweep,
            "model": trial.model,
            "task": trial.task,
            "method": trial.method,
            "seed": trial.seed,
            "state": str(self.result.state),
            "fidelity": self.result.label,
            "duration_s": self.result.duration_s,
            "usage": asdict(usage) if usage else None,
        }


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One thing that two stages do not have in common."""

    kind: str
    """`param`, `source`, `version`, `stage` for one that only one of the two has, or `input` for
    an earlier stage that differs itself."""
    name: str
    """Of the param, or the role of the source or input; else the kind."""
    values: tuple[Any, Any]
    """None where one of the two has no such thing."""


@dataclass(frozen=True, kw_only=True)
class StagePair:
    """A stage of each trial that has the same place in its graph."""

    stage: str
    """Its name."""
    digests: tuple[str | None, str | None]
    """None where one of the two has no such stage."""
    reasons: tuple[Reason, ...]

    @property
    def is_same(self) -> bool:
        """Return whether the two are one computation."""
        return self.digests[0] == self.digests[1]

    @property
    def own_reasons(self) -> tuple[Reason, ...]:
        """Why they would differ even if all inputs were the same."""
        return tuple(reason for reason in self.reasons if reason.kind != "input")


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far two trials predict the same for the same test examples."""

    num_rows: int
    num_flipped: int | None
    """Rows that are given different classes; None where predictions are real numbers."""
    kappa: float | None
    """Cohen's kappa: agreement beyond chance, 1 for the same classes everywhere; None for numbers
    and where one class is all there is. Source: Cohen (1960), Educational and Psychological
    Measurement 20, by `sklearn.metrics.cohen_kappa_score`."""
    mean_difference: float | None
    """Mean absolute difference of real numbers; None for classes."""
    test: str | None
    """The name of the test of "no difference in the metric"; None where there is none."""
    p: float | None


@dataclass(frozen=True, kw_only=True)
class TrialDiff:
    """What differs between two trials."""

    sides: tuple[Side, Side]
    params: Mapping[str, tuple[Any, Any]]
    """Those that differ, by name; None where one of the two has no such param."""
    stages: Sequence[StagePair]
    """All stages, inputs first."""
    metrics: Mapping[str, tuple[float | None, float | None]]
    """All of both, by name."""
    agreement: Agreement | None
    """None where the two do not predict for the same examples."""

    @property
    def parting(self) -> StagePair | None:
        """The first stage at which they part; None where they are one computation."""
        return next((pair for pair in self.stages if pair.own_reasons), None)

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the keys are documented in docs/json.md."""
        parting = self.parting
        return {
            "trials": [side.to_json() for side in self.sides],
            "params": [_values_json(name, pair) for name, pair in self.params.items()],
            "parting": None if parting is None else _stage_json(parting, parting.own_reasons),
            "stages": [_stage_json(pair, pair.reasons) for pair in self.stages],
            "metrics": [
                {**_values_json(name, pair), "difference": difference(pair)}
                for name, pair in self.metrics.items()
            ],
            "predictions": asdict(self.agreement) if self.agreement else None,
        }


def _values_json(name: str, values: tuple[Any, Any]) -> dict[str, Any]:
    return {"name": name, "values": list(values)}


def _stage_json(pair: StagePair, reasons: Sequence[Reason]) -> dict[str, Any]:
    return {
        "stage": pair.stage,
        "digests": list(pair.digests),
        "is_same": pair.is_same,
        "reasons": [{"kind": r.kind, **_values_json(r.name, r.values)} for r in reasons],
    }


def difference(values: tuple[float | None, float | None]) -> float | None:
    """Return the second less the first, or None where one is missing."""
    first, second = values
    return None if first is None or second is None else second - first


def diff(first: Side, second: Side) -> TrialDiff:
    """Compare two trials."""
    params = _differing(first.result.trial.params, second.result.trial.params)
    ours, theirs = first.result.metrics, second.result.metrics
    return TrialDiff(
        sides=(first, second),
        params=params,
        stages=stage_pairs(first.last, second.last),
        metrics={name: (ours.get(name), theirs.get(name)) for name in {**ours, **theirs}},
        agreement=_agreement(first, second),
    )


def stage_pairs(first: Node, second: Node) -> list[StagePair]:
    """Return the stages of two graphs in pairs, inputs first.

    What both have is a pair, then what has the same name, in the order of the graphs; a stage that
    only one of them has stands alone.
    """
    depths: dict[str, int] = {}
    ours, theirs = ({n.digest: n for n in _walk(last, depths)} for last in (first, second))
    rest = [node for digest, node in theirs.items() if digest not in ours]
    pairs: list[tuple[Node | None, Node | None]] = []
    for digest, node in ours.items():
        other = theirs.get(digest) or next(
            (candidate for candidate in rest if candidate.stage.name == node.stage.name), None
        )
        if other in rest:
            rest.remove(other)
        pairs.append((node, other))
    pairs += [(None, node) for node in rest]
    # A stage stands behind all that it needs, in whichever of the two graphs that is.
    pairs.sort(key=lambda pair: max(depths[node.digest] for node in pair if node is not None))
    return [_pair(*pair) for pair in pairs]


def _walk(last: Node, depths: dict[str, int]) -> Iterator[Node]:
    """Yield the nodes of a graph, inputs first, and note how deep in it each is."""
    for earlier in last.inputs.values():
        yield from _walk(earlier, depths)
    depths[last.digest] = 1 + max((depths[n.digest] for n in last.inputs.values()), default=0)
    yield last


def _pair(first: Node | None, second: Node | None) -> StagePair:
    nodes = [node for node in (first, second) if node is not None]
    reasons = (
        _reasons(first, second)
        if first and second
        else [Reason(kind="stage", name="stage", values=(_name(first), _name(second)))]
    )
    return StagePair(
        stage=nodes[0].stage.name,
        digests=(first.digest if first else None, second.digest if second else None),
        reasons=tuple(reasons),
    )


def _name(node: Node | None) -> str | None:
    return node.stage.name if node else None


def _reasons(first: Node, second: Node) -> Iterator[Reason]:
    if first.stage.version != second.stage.version:
        versions = first.stage.version, second.stage.version
        yield Reason(kind="version", name="version", values=versions)
    for name, values in _differing(first.params, second.params).items():
        yield Reason(kind="param", name=name, values=values)
    ours, theirs = ({r: s.digest for r, s in n.sources.items()} for n in (first, second))
    for role in _differing(ours, theirs):
        named = [n.sources[role].name if role in n.sources else None for n in (first, second)]
        yield Reason(kind="source", name=role, values=(named[0], named[1]))
    ours, theirs = ({r: i.digest for r, i in n.inputs.items()} for n in (first, second))
    for role, values in _differing(ours, theirs).items():
        # One that only one of the two has is a difference of its own: nothing below it differs.
        kind = "stage" if None in values else "input"
        staged = (_name(first.inputs.get(role)), _name(second.inputs.get(role)))
        yield Reason(kind=kind, name=role, values=staged)


def _differing(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = {**ours, **theirs}
    pairs = {name: (ours.get(name), theirs.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _agreement(first: Side, second: Side) -> Agreement | None:
    ours, theirs = first.predictions, second.predictions
    if ours is None or theirs is None or not _same_examples(ours, theirs):
        return None
    import numpy as np  # noqa: PLC0415 - only where there is something to compare

    a, b = (table["prediction"].to_numpy() for table in (ours, theirs))
    test, p = _test(first, second)
    is_real = np.issubdtype(a.dtype, np.floating)
    return Agreement(
        num_rows=len(a),
        num_flipped=None if is_real else int((a != b).sum()),
        kappa=None if is_real else _kappa(a, b),
        mean_difference=float(np.abs(a - b).mean()) if is_real else None,
        test=test,
        p=p,
    )


def _same_examples(ours: pa.Table, theirs: pa.Table) -> bool:
    """Return whether two tables have predictions for the same examples in the same order."""
    given = [name for name in ("row", "position", "label") if name in ours.column_names]
    same_form = len(ours) > 0 and ours["prediction"].type == theirs["prediction"].type
    return (
        same_form
        and len(ours) == len(theirs)
        and all(name in theirs.column_names and ours[name].equals(theirs[name]) for name in given)
    )


def _kappa(a: np.ndarray, b: np.ndarray) -> float | None:
    if len({*a.tolist(), *b.tolist()}) < 2:
        return None
    from sklearn.metrics import cohen_kappa_score  # noqa: PLC0415 - a second to load

    return float(cohen_kappa_score(a, b))


def _test(first: Side, second: Side) -> tuple[str | None, float | None]:
    """Return the test of their ranking metric over the common test examples, and its p-value."""
    ours, theirs = first.examples, second.examples
    metrics = {side.result.trial.metric for side in (first, second)}
    if ours is None or theirs is None or ours.examples != theirs.examples or len(metrics) > 1:
        return None, None
    from orchestrator.comparing.statistics.pairs import test_examples  # noqa: PLC0415 - scipy

    found = test_examples(ours.scores[None], theirs.scores[None])
    return (found.name, found.p) if found else (None, None)
