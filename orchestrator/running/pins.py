"""What the names in a sweep stood for when it ran, by digest; keeps and reads no content.

A trial is known by what the files are that its sweep names. Where they have changed, what it gave
before is found again by the digests that they had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from orchestrator.planning.trial import Trial, ids_digest
from pipelines.contract import Node, Pinned


@dataclass(frozen=True, kw_only=True)
class PastSource:
    """A model, data or files as they were; nothing can be read from it."""

    name: str
    digest: str
    source: Any
    """Where it came from; None where that is not told."""


@dataclass(frozen=True, kw_only=True)
class Pins:
    """The pins of one run."""

    started_at: float
    """Unix time in seconds."""
    trials: str
    """The digest of the ids of all trials."""
    sources: Sequence[str]
    """The digests of all sources, each once, in the order of the stages."""

    @classmethod
    def of(cls, trials: Sequence[Trial], nodes: Mapping[str, Node], started_at: float) -> Pins:
        """Return the pins of a sweep as it is now."""
        return cls(started_at=started_at, trials=ids_digest(trials), sources=list(_sources(nodes)))

    def to_json(self) -> dict[str, Any]:
        """Return plain data, which the constructor takes."""
        return asdict(self)

    def pinned(
        self, trials: Sequence[Trial], nodes: Mapping[str, Node]
    ) -> tuple[tuple[Trial, ...], dict[str, Node]] | None:
        """Return trials and nodes as they were in this run.

        Args:
            trials: As they are now.
            nodes: By digest, inputs first, as they are now.

        Returns:
            None where more has changed than the content of sources.
        """
        now = _sources(nodes)
        if len(now) != len(self.sources):
            return None
        past = {
            digest: PastSource(
                name=source.name, digest=before, source=getattr(source, "source", None)
            )
            for (digest, source), before in zip(now.items(), self.sources, strict=True)
            if digest != before
        }
        moved: dict[str, Node] = {}
        for digest, node in nodes.items():
            sources = {role: past.get(s.digest, s) for role, s in node.sources.items()}
            inputs = {role: moved[earlier.digest] for role, earlier in node.inputs.items()}
            moved[digest] = replace(node, sources=sources, inputs=inputs)
        found = tuple(_moved(trial, moved) for trial in trials)
        # Equal ids are the proof that nothing else has changed.
        if ids_digest(found) != self.trials:
            return None
        return found, {node.digest: node for node in moved.values()}


def past_sources(nodes: Sequence[Node]) -> list[str]:
    """Return the names of what nodes rest on that is not there any more as it was."""
    sources = (source for node in nodes for source in node.sources.values())
    return list(dict.fromkeys(s.name for s in sources if isinstance(s, PastSource)))


def _sources(nodes: Mapping[str, Node]) -> dict[str, Pinned]:
    return {source.digest: source for node in nodes.values() for source in node.sources.values()}


def _moved(trial: Trial, moved: Mapping[str, Node]) -> Trial:
    stages = tuple(moved[digest].digest for digest in trial.stages)
    result_digest = moved[trial.result_digest].digest
    return replace(trial, id=result_digest[:16], result_digest=result_digest, stages=stages)
