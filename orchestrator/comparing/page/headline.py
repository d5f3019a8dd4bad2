"""What a sweep was and what it found, in one sentence and a few numbers; draws nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.comparing.page.values import (
    Names,
    interval,
    moment,
    number,
    seconds,
)
from orchestrator.comparing.wording import format_p, plural

Data = Mapping[str, Any]


def facts(data: Data, names: Names) -> list[tuple[str, str]]:
    """Return the numbers that say how large the sweep was, with their names."""
    trials = data["trials"]
    num_finished = data["counts"].get("FINISHED", 0)
    counts = {
        "config": len(names.rows),
        "seed": len({trial["seed"] for trial in trials}),
        "task": len(names.tasks),
        "model": len(names.models),
        "method": len(names.methods),
    }
    counted = [("trials finished", f"{num_finished:,} of {len(trials):,}")]
    counted += [(noun if n == 1 else f"{noun}s", f"{n:,}") for noun, n in counts.items()]
    accounts, provenance = data.get("accounts") or {}, data.get("provenance") or {}
    if accounts.get("wall_s"):
        counted.append(("duration", seconds(accounts["wall_s"])))
    if started := moment(provenance.get("started_at")):
        counted.append(("started (UTC)", started))
    return counted


def finding(data: Data, names: Names) -> str:
    """Return in one sentence, or two, which config or method is best and how sure that is."""
    chosen = data.get("chosen") or []
    winners = _winners(chosen)
    if not winners:
        num_failed = data["counts"].get("FAILED", 0)
        return f"{plural(num_failed, 'trial')} failed." if num_failed else "No trial has finished."
    if len(winners) == 1:
        return _of_task(next(iter(winners.values())), data, names)
    sides = Counter(row["task"] for row in chosen)
    contested = {task: row for task, row in winners.items() if sides[task] > 1}
    if not contested:
        return _only_choice(winners)
    if len(contested) == 1:
        one = _of_task(next(iter(contested.values())), data, names)
        return f"{_only_choice(winners)} {one}"
    return _of_tasks(contested, data, names)


def _winners(chosen: Sequence[Data]) -> dict[str, Data]:
    """Return, by task, the chosen config with the best validation mean."""
    winners: dict[str, Data] = {}
    for row in chosen:
        best = winners.get(row["task"])
        if _mean(row) is not None and (best is None or _is_better(row, best)):
            winners[row["task"]] = row
    return winners


def _mean(row: Data, split: str = "validation") -> Any:
    return (row.get(split) or {}).get("mean")


def _is_better(row: Data, other: Data) -> bool:
    if row["mode"] == "min":
        return bool(_mean(row) < _mean(other))
    return bool(_mean(row) > _mean(other))


def _of_task(winner: Data, data: Data, names: Names) -> str:
    test = winner.get("test") or {}
    score = f"{winner['metric']} {number(test.get('mean'))}"
    if bounds := interval(test.get("ci")):
        score += f", 95% interval {bounds},"
    where = f"On {winner['task']}, " if winner["task"] else ""
    sentence = (
        f"{where}{names.label(winner['config_id'])} is chosen by the validation split: "
        f"test {score} over {plural(test.get('n', 0), 'seed')}."
    )
    return sentence + _against_rivals(winner, data, names) + _tied(winner, data)


def _rivals(winner: Data, data: Data) -> list[Data]:
    pairs = data.get("contrasts") or []
    sides = ("a", "b")
    return [c for c in pairs if any(c[s]["config_id"] == winner["config_id"] for s in sides)]


def _against_rivals(winner: Data, data: Data, names: Names) -> str:
    rivals = _rivals(winner, data)
    if not rivals:
        return ""
    if len(rivals) == 1:
        is_a = rivals[0]["a"]["config_id"] == winner["config_id"]
        other = names.label(rivals[0]["b" if is_a else "a"]["config_id"])
        verdict = "is real" if rivals[0]["is_real"] else "may be chance"
        noun = "lead over" if _leads(winner, rivals[0]) else "lag behind"
        return f" Its {noun} {other} {verdict} (p = {format_p(rivals[0]['p_adjusted'])})."
    real = [contrast for contrast in rivals if contrast["is_real"]]
    num_better = sum(_leads(winner, contrast) for contrast in real)
    worse = f" and worse than {len(real) - num_better}" if num_better < len(real) else ""
    return (
        f" On the test split it is better than {num_better}{worse} of "
        f"{plural(len(rivals), 'other choice')} beyond chance."
    )


def _leads(winner: Data, contrast: Data) -> bool:
    """Return whether a choice of validation is the better one of a pair on the test split too."""
    is_a = contrast["a"]["config_id"] == winner["config_id"]
    lead = contrast["difference"] if is_a else -contrast["difference"]
    return bool(lead < 0 if contrast["mode"] == "min" else lead > 0)


def _tied(winner: Data, data: Data) -> str:
    rows = data["leaderboard"]["tasks"].get(winner["task"], [])
    num_tied = sum(
        bool(row.get("is_tied")) for row in rows if row["config_id"] != winner["config_id"]
    )
    return f" {num_tied} of {len(rows)} configs cannot be told apart from it." if num_tied else ""


def _of_tasks(winners: Mapping[str, Data], data: Data, names: Names) -> str:
    wins = Counter(names.pair(row) for row in winners.values())
    name, count = max(wins.items(), key=lambda item: item[1])
    best = [(row, _rivals(row, data)) for row in winners.values() if names.pair(row) == name]
    num_real = sum(
        bool(pairs) and all(pair["is_real"] and _leads(row, pair) for pair in pairs)
        for row, pairs in best
    )
    sure = "on none of them" if not num_real else "on all of them" if num_real == count else (
        f"on {num_real} of them"
    )  # fmt: skip
    return (
        f"{name} is best on {count} of {len(winners)} tasks by the validation split; "
        f"{sure} its lead on the test split over every other choice is beyond chance."
    )


def _only_choice(winners: Mapping[str, Data]) -> str:
    rows = list(winners.values())
    scores = [(value, row) for row in rows if (value := _mean(row, "test")) is not None]
    if not scores:
        return f"{plural(len(rows), 'task')} were tried; none has a test score."
    low, high = min(scores, key=lambda s: s[0]), max(scores, key=lambda s: s[0])
    return (
        f"The test score of the config chosen on each of {len(rows)} tasks runs from "
        f"{number(low[0])} ({low[1]['task']}, {low[1]['metric']}) "
        f"to {number(high[0])} ({high[1]['task']}, {high[1]['metric']})."
    )
