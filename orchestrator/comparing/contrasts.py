"""Which differences between chosen configs are real, on the test split; chooses no config.

A difference is real if it survives other seeds and other test examples, after corrections for
configs that were chosen among more than their rivals, and for all pairs of the report (Holm).
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.comparing.choice import Chosen
from orchestrator.comparing.configs import ConfigRow, bounds
from orchestrator.comparing.examples import Examples, in_blocks
from orchestrator.comparing.ties import LEVEL
from orchestrator.comparing.wording import config_label

if TYPE_CHECKING:
    from orchestrator.comparing.statistics.intervals import Interval
    from orchestrator.comparing.statistics.pairs import PairTest

MAX_PAIRS = 200
"""Pairs of a report that are tested: Holm's correction pays for each further one with power, and
each takes a hundredth to a seventh of a second. Beyond it, those of the configs that validation
ranks best in every task."""


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Two chosen configs of one task on the test split; `a` is the one that validation prefers."""

    a: ConfigRow
    b: ConfigRow
    difference: float
    """Mean of a less mean of b, over the seeds that both have finished."""
    ci: Interval | None
    num_seeds: int
    num_examples: int | None
    p_seeds: PairTest | None
    p_budget: float | None
    """p of `p_seeds`, corrected where the leader was chosen among more configs than its rival."""
    p_examples: PairTest | None
    p_adjusted: float | None
    effect_size: float | None

    @property
    def p(self) -> float | None:
        """The larger of the p-values by seeds and by examples; None where neither can be had."""
        by_examples = self.p_examples.p if self.p_examples else None
        return max((p for p in (self.p_budget, by_examples) if p is not None), default=None)

    @property
    def is_real(self) -> bool:
        """Whether it survives; a single seed never shows that."""
        has_seeds = self.p_seeds is not None
        return has_seeds and self.p_adjusted is not None and self.p_adjusted <= LEVEL

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the keys are documented in docs/json.md."""
        return {
            "task": self.a.task,
            "metric": self.a.metric,
            "mode": self.a.mode,
            "split": "test",
            "a": {"config_id": self.a.config_id, "label": config_label(self.a)},
            "b": {"config_id": self.b.config_id, "label": config_label(self.b)},
            "difference": self.difference,
            "ci": bounds(self.ci),
            "num_seeds": self.num_seeds,
            "num_examples": self.num_examples,
            "p_seeds": _test(self.p_seeds),
            "p_budget": self.p_budget,
            "p_examples": _test(self.p_examples),
            "p_adjusted": self.p_adjusted,
            "effect_size": self.effect_size,
            "is_real": self.is_real,
        }


@dataclass(frozen=True, kw_only=True)
class Contrasts:
    """All pairs that were compared."""

    pairs: Sequence[Contrast] = ()
    num_left_out: int = 0
    """Pairs beyond :data:`MAX_PAIRS`."""


def contrasts(chosen: Sequence[Chosen], examples: Examples) -> Contrasts:
    """Compare the chosen configs of each task, pair by pair, and correct for their number.

    Pairs without a common seed on the test split are passed over.

    Args:
        chosen: The chosen configs, in the order of their ranks within a task.
        examples: Scores of single examples, where they can be had.
    """
    tasks: dict[str, list[Chosen]] = {}
    for item in compared(chosen):
        tasks.setdefault(item.row.task, []).append(item)
    pairs = [pair for items in tasks.values() for pair in itertools.combinations(items, 2)]
    made = [made for a, b in pairs if (made := _contrast(a, b, examples))]
    counts = Counter(item.row.task for item in chosen)
    num_all = _num_pairs(counts, len(chosen))
    return Contrasts(pairs=_corrected(made), num_left_out=num_all - len(pairs))


def compared(chosen: Sequence[Chosen]) -> list[Chosen]:
    """Return the chosen configs that take part: all, or the first ones of every task."""
    counts = Counter(item.row.task for item in chosen)
    depth = max(counts.values(), default=0)
    while depth > 2 and _num_pairs(counts, depth) > MAX_PAIRS:
        depth -= 1
    taken: Counter[str] = Counter()
    kept = []
    for item in chosen:
        taken[item.row.task] += 1
        if taken[item.row.task] <= depth:
            kept.append(item)
    return kept


def _num_pairs(counts: Mapping[str, int], depth: int) -> int:
    return sum(math.comb(min(count, depth), 2) for count in counts.values())


def _contrast(first: Chosen, second: Chosen, examples: Examples) -> Contrast | None:
    a, b = first.row, second.row
    ours, theirs = a.by_seed.get("test", {}), b.by_seed.get("test", {})
    seeds = sorted(
        seed
        for seed in ours.keys() & theirs.keys()
        if math.isfinite(ours[seed]) and math.isfinite(theirs[seed])
    )
    if not seeds:
        return None
    from orchestrator.comparing.statistics import families, pairs  # noqa: PLC0415 - loads scipy

    values = [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]
    difference = (math.fsum(values[0]) - math.fsum(values[1])) / len(seeds)
    leads = difference > 0 if a.mode == "max" else difference < 0
    winner, loser = (first, second) if leads else (second, first)
    scores = examples.of([a.config_id, b.config_id], seeds)
    drawn = in_blocks(scores) if scores else None
    by_seeds = pairs.test_seeds(*values)
    return Contrast(
        a=a,
        b=b,
        difference=difference,
        ci=pairs.difference_interval(*(drawn or values)),
        num_seeds=len(seeds),
        num_examples=scores[0].shape[1] if scores else None,
        p_seeds=by_seeds,
        p_budget=families.at_equal_budget(by_seeds.p, winner.num_configs, loser.num_configs)
        if by_seeds
        else None,
        p_examples=pairs.test_examples(*drawn) if drawn else None,
        p_adjusted=None,
        effect_size=pairs.effect_size(*values),
    )


def _corrected(made: Sequence[Contrast]) -> list[Contrast]:
    tested = [(number, p) for number, one in enumerate(made) if (p := one.p) is not None]
    if not tested:
        return list(made)
    from orchestrator.comparing.statistics.families import holm  # noqa: PLC0415 - loads scipy

    adjusted = dict(zip((n for n, _ in tested), holm([p for _, p in tested]), strict=True))
    return [replace(one, p_adjusted=adjusted.get(number)) for number, one in enumerate(made)]


def _test(test: PairTest | None) -> dict[str, Any] | None:
    return None if test is None else {"test": test.name, "p": test.p}
