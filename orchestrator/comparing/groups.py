"""Methods and models over all tasks, by the configs that validation chose; chooses nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.comparing.choice import Chosen
from orchestrator.comparing.configs import ConfigRow, bounds, rank_key
from orchestrator.comparing.overall import (
    common_mode,
    mean_of_means,
    oriented,
    pool,
    ranks_and_wins,
)

if TYPE_CHECKING:
    from orchestrator.comparing.statistics.intervals import Interval

Noun = Literal["method", "model"]


@dataclass(frozen=True, kw_only=True)
class GroupRow:
    """One method, or one model, over all tasks: its chosen configs on the test split."""

    name: str
    num_tasks: int
    is_complete: bool
    """Whether it has a score wherever another one has; means of others do not compare."""
    mean: float | None
    """None where the tasks have no common scale."""
    iqm: float | None
    ci: Interval | None
    """95% confidence interval of `iqm`."""
    mean_rank: float | None
    win_rate: float | None

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the keys are documented in docs/json.md."""
        return {**self.__dict__, "ci": bounds(self.ci)}


def group_rows(chosen: Sequence[Chosen], noun: Noun) -> list[GroupRow]:
    """Return methods, or models, by the chosen configs of each, the best first.

    A method is compared with others per task and model, a model per task and method, so that one
    that was tried with more models has no advantage by it.

    Args:
        chosen: The chosen configs.
        noun: What is compared.
    """
    rows: dict[str, dict[tuple[str, str], ConfigRow]] = {}
    for item in chosen:
        if item.row.scores["test"].mean is not None:
            row = item.row
            place = (row.task, row.model if noun == "method" else row.method)
            rows.setdefault(getattr(row, noun), {}).setdefault(place, row)
    places = list(dict.fromkeys(place for found in rows.values() for place in found))
    table = [
        [oriented(found[place], "test") if place in found else None for place in places]
        for found in rows.values()
    ]
    mode = common_mode(row for found in rows.values() for row in found.values())
    groups = [
        _group(name, list(found.values()), len(places), mode, compared)
        for (name, found), compared in zip(rows.items(), ranks_and_wins(table), strict=True)
    ]
    return sorted(groups, key=lambda group: _order(group, mode))


def _group(
    name: str,
    rows: Sequence[ConfigRow],
    num_places: int,
    mode: str | None,
    compared: tuple[float | None, float | None],
) -> GroupRow:
    pooled = pool(rows, "test") if mode else None
    return GroupRow(
        name=name,
        num_tasks=len({row.task for row in rows}),
        is_complete=len(rows) == num_places,
        mean=mean_of_means(rows, "test") if mode else None,
        iqm=pooled.value if pooled else None,
        ci=pooled.ci if pooled else None,
        mean_rank=compared[0],
        win_rate=compared[1],
    )


def _order(group: GroupRow, mode: str | None) -> tuple[bool, float, str]:
    by_rank = rank_key(group.mean_rank, "min")
    score = rank_key(group.mean, mode) if mode else by_rank
    return not group.is_complete, score, group.name
