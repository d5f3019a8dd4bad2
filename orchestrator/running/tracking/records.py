"""How a result reads as a run: names, tags, params and points; imports no mlflow.

A record holds nothing that differs between two writings of the same result, not even a
timestamp. That is what makes writing it twice the same as writing it once.
"""

from __future__ import annotations

import json
import math
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from cluster.job import State
from orchestrator.comparing.wording import format_params, format_value
from orchestrator.planning.trial import Trial, TrialResult
from orchestrator.running.tracking.tracker import ConfigSummary
from orchestrator.running.tracking.uris import mask_credentials
from orchestrator.running.tracking.usage import usage_metrics
from pipelines.contract import digest_of

KIND_TAG = "fanflare.kind"
FORMER = "former "
"""Stands before the kind of a run whose trial or config is no longer part of its sweep."""
SWEEP_ID_TAG = "fanflare.sweep_id"
TRIAL_ID_TAG = "fanflare.trial_id"
CONFIG_ID_TAG = "fanflare.config_id"
CONTENT_TAG = "fanflare.content"
"""A digest of all that a config's run shows, by which a change is seen."""
NUMBERS_TAG = "fanflare.numbers"
"""A digest of a config's own numbers, all but its rank: they change if its trials do."""
NOTE_TAG = "mlflow.note.content"
"""MLflow's own: the description of a run, in Markdown."""
PASSING_TAGS = frozenset(
    {
        "fanflare.failure_cause",
        "fanflare.failure_message",
        "fanflare.is_tied",
        "fanflare.not_finite",
    }
)
"""Tags that a later result of the same trial or config may have to remove."""

MAX_VALUE_LENGTH = 5000
"""Characters of a tag or param: MLflow 3 cuts params at 6,000, MLflow 2 tags at 5,000."""
MAX_PARAMS_LENGTH = 80
"""Characters of the params in the name of a run."""
MAX_NAME_LENGTH = 250
"""Characters of the name of a metric, param or tag: MLflow's MAX_ENTITY_KEY_LENGTH."""
MAX_DIGEST_LENGTH = 36
"""Characters of a data set's digest: MLflow's MAX_DATASET_DIGEST_SIZE."""


class Point(NamedTuple):
    """One value of a metric."""

    name: str
    value: float
    timestamp_ms: int
    step: int


class DatasetUse(NamedTuple):
    """One split that a run has used."""

    name: str
    digest: str
    split: str
    source: str
    profile: str


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run, complete."""

    kind: str
    """`trial` or `config`."""
    id: str
    """The trial's or the config's id: one run each in a sweep."""
    name: str
    state: State
    started_ms: int
    """Unix time in milliseconds; 0 if it never started."""
    ended_ms: int
    tags: Mapping[str, str]
    params: Mapping[str, str]
    points: Sequence[Point]
    datasets: Sequence[DatasetUse] = ()

    @property
    def key(self) -> tuple[str, str]:
        """Return kind and id, which name one run in a sweep."""
        return self.kind, self.id


def trial_record(result: TrialResult) -> RunRecord:
    """Return the run of a trial's result."""
    trial = result.trial
    times = _Times.of(result.started_at, result.ended_at)
    final = {**usage_metrics(result), "duration_s": result.duration_s, **result.metrics}
    points, not_finite = _points(result.curve, final, times)
    tags = {
        KIND_TAG: "trial",
        TRIAL_ID_TAG: trial.id,
        CONFIG_ID_TAG: trial.config_id,
        "fanflare.model": trial.model,
        "fanflare.task": trial.task,
        "fanflare.method": trial.method,
        "fanflare.seed": str(trial.seed),
    }
    if result.label is not None:
        tags["fanflare.fidelity"] = result.label
    if result.failure is not None:
        tags["fanflare.failure_cause"] = str(result.failure.cause)
        tags["fanflare.failure_message"] = mask_credentials(result.failure.message)
    if not_finite:
        tags["fanflare.not_finite"] = ", ".join(not_finite)
    params = {"model": trial.model, "task": trial.task, **trial.params, "seed": trial.seed}
    return RunRecord(
        kind="trial",
        id=trial.id,
        name=_trial_name(trial),
        state=result.state,
        started_ms=times.started_ms,
        ended_ms=times.ended_ms,
        tags=as_texts(tags),
        params=as_texts(params),
        points=points,
        datasets=[dataset_use(dataset) for dataset in result.datasets],
    )


def _trial_name(trial: Trial) -> str:
    """Return a name for people; where nothing else tells trials apart, with its params."""
    # Long ones last: a command would take all the room.
    params = dict(sorted(trial.params.items(), key=lambda item: len(format_value(item[1])) > 20))
    what = trial.method or trial.model or format_params(params)[:MAX_PARAMS_LENGTH]
    return " · ".join(part for part in (what, trial.task, f"seed {trial.seed}") if part)


def config_record(config: ConfigSummary) -> RunRecord:
    """Return the run of a config, which carries its numbers over all seeds."""
    times = _Times.of(config.started_at, config.ended_at)
    updated_ms = round(config.updated_at * 1000) or times.ended_ms
    curve, _ = _points(config.curve, {}, times)
    last_step = max((point.step for point in curve), default=0)
    final = [Point(name, value, updated_ms, last_step) for name, value in finite(config.metrics)]
    names = {point.name for point in final}
    # What compares comes first: MLflow's pages begin their plots with the first metric.
    points = [*final, *(p for p in curve if p.step < last_step or p.name not in names)]
    tags = as_texts({**config.tags, KIND_TAG: "config", CONFIG_ID_TAG: config.config_id})
    params = as_texts(config.params)
    numbers = [(p.name, p.step, p.value) for p in points]
    own = [number for number in numbers if number[0] != "rank"]
    content = [config.name, tags, params, numbers]
    return RunRecord(
        kind="config",
        id=config.config_id,
        name=config.name,
        state=config.state,
        started_ms=times.started_ms,
        ended_ms=times.ended_ms,
        tags={**tags, CONTENT_TAG: digest_of(content)[:16], NUMBERS_TAG: digest_of(own)[:16]},
        params=params,
        points=points,
        datasets=[dataset_use(dataset) for dataset in config.datasets],
    )


def as_texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Return tags or params as MLflow takes them: valid names, texts, no credentials."""
    return {entity_name(name): _text(value) for name, value in values.items()}


def entity_name(name: str) -> str:
    """Return the nearest name that MLflow accepts for a metric, a param or a tag.

    Windows servers refuse colons, and no server takes what does not read as a plain path.
    """
    path = posixpath.normpath(re.sub(r"[^/\w.\- ]", "_", name)).lstrip("/")
    return re.sub(r"^\.+(?=/|$)", "_", path)[:MAX_NAME_LENGTH]


class _Times(NamedTuple):
    started_ms: int
    ended_ms: int

    @classmethod
    def of(cls, started_at: float, ended_at: float) -> _Times:
        ended_ms = round(ended_at * 1000)
        return cls(round(started_at * 1000) or ended_ms, ended_ms)

    def at(self, step: int, last_step: int) -> int:
        """Return a time for a step: no clock was read there, so they are spread evenly."""
        if last_step <= 0:
            return self.ended_ms
        return self.started_ms + (self.ended_ms - self.started_ms) * step // last_step


def _points(
    curve: Sequence[Mapping[str, Any]], final: Mapping[str, Any], times: _Times
) -> tuple[list[Point], list[str]]:
    """Return the points of a curve and of final numbers, and the names that were not finite.

    SQL stores turn infinity into 1.8e308 and NaN into a flagged 0, which ruins every chart:
    such values are named in a tag and not written. Final numbers stand at the last step of the
    curve, where MLflow's rule "the largest step is the latest value" finds them.
    """
    last_step = max((int(point["step"]) for point in curve), default=0)
    drawn = (
        (name, int(point["step"]), value)
        for point in curve
        for name, value in point.items()
        if name not in ("step", "epoch")
    )
    points: dict[tuple[str, int], Point] = {}
    not_finite: dict[str, None] = {}
    for raw_name, step, value in (*drawn, *((name, last_step, v) for name, v in final.items())):
        if not _is_number(value):
            continue
        name = entity_name(raw_name)
        if math.isfinite(value):
            points[name, step] = Point(name, float(value), times.at(step, last_step), step)
        else:
            not_finite[name] = None
    return list(points.values()), list(not_finite)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def dataset_use(dataset: Mapping[str, Any]) -> DatasetUse:
    """Return a data set as MLflow takes it.

    MLflow knows a data set by name and digest and keeps one use of it a run, so the split is
    made part of the digest: splits of one file would otherwise hide each other.
    """
    split = _text(dataset.get("split", ""))
    digest = "-".join(filter(None, (str(dataset.get("digest", ""))[:16], split)))
    num_rows = dataset.get("num_rows")
    return DatasetUse(
        name=_text(dataset.get("name", ""))[:500],
        digest=digest[:MAX_DIGEST_LENGTH],
        split=split,
        source=json.dumps({"uri": _text(dataset.get("source", ""))}),
        profile=json.dumps({} if num_rows is None else {"num_rows": num_rows}),
    )


def _text(value: Any) -> str:
    """Return a value as text: strings as they are, all else as JSON, cut to what MLflow keeps."""
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    # PostgreSQL refuses NUL, and no store takes half a surrogate pair.
    clean = text.replace("\x00", "").encode("utf-8", "replace").decode()
    masked = mask_credentials(clean)
    return masked if len(masked) <= MAX_VALUE_LENGTH else masked[: MAX_VALUE_LENGTH - 1] + "…"


def finite(values: Mapping[str, float]) -> Iterable[tuple[str, float]]:
    """Yield the values that every store can hold, under names that it accepts."""
    for name, value in values.items():
        if _is_number(value) and math.isfinite(value):
            yield entity_name(name), float(value)
