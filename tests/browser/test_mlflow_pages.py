"""MLflow's own pages on a sweep: what `fanflare ui` opens, and where one goes from there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orchestrator.running.mlflow_ui import mlflow_ui
from orchestrator.running.session import tracking_uri
from orchestrator.running.workspace import open_sweep
from tests.browser.conftest import TIMEOUT_MS, Swept, Watched
from tests.browser.made_up import NUM_CONFIGS_OF_A_TASK, NUM_TASKS
from tests.mlflow_records import runs_of

Open = Callable[..., Watched]

NUM_COMPARED = 5
SCREEN = {"width": 1900, "height": 1100}


@pytest.fixture(scope="module")
def uri(swept: Swept) -> str:
    """The tracking URI of the sweep."""
    return str(tracking_uri(open_sweep(str(swept.file))))


@pytest.fixture(scope="module")
def address(browser: Any, uri: str) -> Iterator[str]:
    """The address of the sweep's page on a server of MLflow's, as `fanflare ui` prints it."""
    with mlflow_ui(uri, experiment="made-up") as url:
        yield url


@pytest.fixture
def parent(uri: str, address: str) -> str:
    """The address of the page of the sweep's own run."""
    (run,) = runs_of(uri, "made-up", "sweep")
    base = address.partition("/runs")[0]
    return f"{base}/runs/{run.info.run_id}"


def shown(page: Any, text: str | re.Pattern[str]) -> Any:
    """Wait until a text is on the page, and return the first element that has it."""
    found = page.get_by_text(text).locator("visible=true").first
    found.wait_for(timeout=TIMEOUT_MS)
    return found


def test_the_first_page_lists_all_configs_with_their_means_best_first(
    address: str, watch: Open, swept: Swept
) -> None:
    seen = watch(address, viewport=SCREEN)
    page = seen.page
    shown(page, f"{NUM_TASKS * NUM_CONFIGS_OF_A_TASK} matching runs")
    links = page.get_by_role("row").get_by_role("link")
    links.nth(10).wait_for(timeout=TIMEOUT_MS)  # the rows come later than their number
    names = links.all_inner_texts()
    best = swept.report.leaderboard.tasks["easy"][0]
    assert names[0].startswith("large full learning_rate=0.01 train_size=100 on ")
    assert not any("seed" in name for name in names), "configs only"
    headings = page.get_by_role("columnheader").all_inner_texts()
    assert {"rank", "validation/mean", "test/mean"} <= {heading.strip() for heading in headings}
    shown(page, re.compile(f"^{best.scores['validation'].mean:.6f}"[:8]))
    ranks = page.locator("[role=gridcell][col-id*=rank]").all_inner_texts()
    assert [int(rank) for rank in ranks] == sorted(map(int, ranks))
    assert len(ranks) > 10
    server = address.partition("/#")[0]
    assert all(url.startswith((server, "blob:", "data:")) for url in seen.requests), "this machine"


def test_five_configs_are_compared_number_by_number(
    address: str, watch: Open, swept: Swept
) -> None:
    page = watch(address, viewport=SCREEN).page
    boxes = page.get_by_role("checkbox", name=re.compile("toggle row selection"))
    boxes.nth(NUM_COMPARED - 1).wait_for()
    for number in range(NUM_COMPARED):
        boxes.nth(number).check()
    page.get_by_role("button", name="Compare", exact=True).click()
    shown(page, f"Comparing {NUM_COMPARED} Runs")
    shown(page, "validation/mean")  # the numbers come later than the heading
    text = page.locator("main").inner_text()
    assert text.count("large full learning_rate=") == NUM_COMPARED
    metrics = text.rpartition("\nMetrics\n")[2].splitlines()
    for task in ("easy", "hard"):  # of which the best are the first two of the list
        scores = swept.report.leaderboard.tasks[task][0].scores
        for split in ("validation", "test"):
            assert f"{split}/mean" in metrics
            assert f"{scores[split].mean:.3f}".rstrip("0") in metrics


def test_the_page_of_the_sweep_has_the_note(parent: str, watch: Open) -> None:
    page = watch(parent, viewport=SCREEN).page
    shown(page, re.compile("large full is best on 2 of 2 tasks"))
    assert page.get_by_role("heading", name="easy (accuracy)").count() == 1
    shown(page, re.compile("bug: .*not a number"))


def test_the_report_with_its_plots_shows_among_the_artifacts(parent: str, watch: Open) -> None:
    page = watch(f"{parent}/artifacts/report.html", viewport=SCREEN).page
    frame = page.frame_locator("iframe").first
    frame.get_by_role("heading", name="Leaderboard").wait_for(timeout=TIMEOUT_MS)
    plot = frame.locator(".plot").first
    plot.scroll_into_view_if_needed()
    plot.locator(".main-svg").first.wait_for(timeout=TIMEOUT_MS)
    plot.locator(".trace, .point").first.wait_for(state="attached", timeout=TIMEOUT_MS)


def test_the_models_are_the_chosen_configs(address: str, watch: Open, swept: Swept) -> None:
    base = address.partition("/runs")[0]
    page = watch(f"{base}/models?workflowType=machine_learning", viewport=SCREEN).page
    shown(page, "large full on easy")
    names = set(page.get_by_role("row").get_by_role("link").all_inner_texts())
    chosen = {f"{c.row.model} {c.row.method} on {c.row.task}" for c in swept.report.chosen}
    assert chosen <= names
    assert len(chosen) == 8
