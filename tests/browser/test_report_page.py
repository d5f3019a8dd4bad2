"""The report in a browser: complete, quiet, off the network, readable when narrow or printed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.job import State
from orchestrator.comparing.page.page import page as page_of
from orchestrator.comparing.report import Report
from tests.browser.conftest import Swept, Watched
from tests.browser.made_up import MESSAGE, NUM_CONFIGS_OF_A_TASK
from tests.cli import fanflare
from tests.reports import seeds

__all__ = ["fanflare"]  # the fixture

Open = Callable[..., Watched]

SECTIONS = {
    "leaderboard", "overall", "matrix", "contrasts", "curves", "effects", "sizes", "budget", "cost",
    "sharing", "failures", "provenance",
}  # fmt: skip
HOSTILE = (
    "<img src=x onerror=\"document.title='hacked'\">",
    "</script><script>document.title='hacked'</script>",
    '<a href="javascript:document.title=1">x</a>',
    "\"'>{{7*7}}<svg onload=alert(1)>",
)
DRAWN = (
    "[...document.querySelectorAll('.plot')].every(p => p.querySelector('.trace, .bars, .point'))"
)
NUM_PLOTS = "document.querySelectorAll('.plot').length"


@pytest.fixture
def html(fanflare: Any, swept: Swept, tmp_path: Path) -> str:
    """The address of the report as the command writes it."""
    path = tmp_path / "report & more.html"
    ended = fanflare("report", swept.file, "--html", path)
    assert ended.code == 0, ended.err
    return path.as_uri()


def scroll_through(page: Any) -> None:
    """Scroll as a reader does, from screen to screen to the end."""
    for _ in range(200):
        page.wait_for_timeout(50)
        if page.evaluate(
            "() => { scrollBy({top: 500, behavior: 'instant'});"
            " return scrollY + innerHeight >= document.documentElement.scrollHeight - 1 }"
        ):
            return
    raise AssertionError("the page has no end")


def sideways(page: Any) -> list[int]:
    """Return the width of what is on the page, and of the window."""
    return list(page.evaluate("[document.documentElement.scrollWidth, innerWidth]"))


def column(page: Any, label: str, table: Any = None) -> list[str]:
    """Return the cells of the first table's column that one sees, from top to bottom."""
    table = table or page.locator("#leaderboard .table").first
    heads = [head.strip() for head in table.locator("th").all_inner_texts()]
    place = next(n for n, head in enumerate(heads) if head.rstrip(" ↑↓") == label) + 1
    cells = table.locator(f"tbody tr:visible td:nth-child({place})").all_inner_texts()
    return [cell.strip() for cell in cells]


def test_it_is_complete_and_quiet_without_a_network(html: str, watch: Open) -> None:
    seen = watch(html, offline=True)
    page = seen.page
    assert set(page.locator("section").evaluate_all("all => all.map(s => s.id)")) == SECTIONS
    assert MESSAGE in page.locator("#failures").inner_text()
    scroll_through(page)
    page.wait_for_function(DRAWN)
    assert page.evaluate(NUM_PLOTS) > 10
    assert seen.complaints == []
    assert seen.requests == [html], "nothing but the file itself"


def test_a_link_leads_to_its_section(html: str, watch: Open) -> None:
    page = watch(html, reduced_motion="reduce").page
    page.get_by_role("link", name="Failures").click()
    page.wait_for_function(
        "() => { const top = document.getElementById('failures').getBoundingClientRect().top;"
        " return top >= 0 && top < innerHeight }"
    )


def test_a_click_on_a_heading_sorts_up_and_down(html: str, watch: Open) -> None:
    page = watch(html).page
    table = page.locator("#leaderboard .table").first
    assert column(page, "#")[0] == "1"
    table.get_by_role("button", name="Show all").click()
    heading = table.locator("th button", has_text=re.compile("^test$"))
    heading.click()
    upwards = [float(text.split()[0]) for text in column(page, "test")]
    assert len(upwards) == NUM_CONFIGS_OF_A_TASK
    assert upwards == sorted(upwards)
    heading.click()
    downwards = [float(text.split()[0]) for text in column(page, "test")]
    assert downwards == upwards[::-1]


def test_typing_into_the_filter_leaves_the_rows_that_have_all_words(html: str, watch: Open) -> None:
    page = watch(html).page
    table = page.locator("#leaderboard .table").first
    table.get_by_role("searchbox").fill("large probe")
    assert set(column(page, "model")) == {"large"}
    assert set(column(page, "method")) == {"probe"}
    assert len(column(page, "method")) == 4
    assert f"4 of {NUM_CONFIGS_OF_A_TASK}" in table.inner_text()
    table.get_by_role("searchbox").fill("")
    assert len(column(page, "method")) > 4


def test_on_a_telephone_nothing_is_wider_than_the_screen(html: str, watch: Open) -> None:
    seen = watch(html, viewport={"width": 400, "height": 800}, is_mobile=True, has_touch=True)
    scroll_through(seen.page)
    seen.page.wait_for_function(DRAWN)
    content, window = sideways(seen.page)
    assert content <= window == 400
    assert seen.complaints == []


def test_printed_it_has_every_plot_and_the_rows_behind_the_button(html: str, watch: Open) -> None:
    seen = watch(html)
    page = seen.page
    page.emulate_media(media="print")
    pdf = page.pdf(format="A4")  # which tells the page that it is printed
    page.wait_for_function(DRAWN)
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 3
    assert len(column(page, "#")) == NUM_CONFIGS_OF_A_TASK
    assert page.get_by_role("searchbox").locator("visible=true").count() == 0
    assert seen.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(html: str, watch: Open, scheme: str) -> None:
    page = watch(html, color_scheme=scheme).page
    ink, paper = page.evaluate(
        "(({color, backgroundColor}) => [color, backgroundColor])(getComputedStyle(document.body))"
    )
    lightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) / 765 for colour in (ink, paper)]
    assert abs(lightness[0] - lightness[1]) > 0.7
    assert (lightness[0] > lightness[1]) == (scheme == "dark")


def test_hostile_names_are_shown_and_do_nothing(watch: Open, tmp_path: Path) -> None:
    results = [
        result
        for number, name in enumerate(HOSTILE)
        for other in (name, "plain")
        for result in seeds(0.7 + number / 50, task=name, model=other, method=other, tag=other)
    ]
    path = tmp_path / "hostile.html"
    path.write_text(page_of(Report(HOSTILE[0], State.FINISHED, results)), encoding="utf-8")
    seen = watch(path.as_uri())
    scroll_through(seen.page)
    seen.page.wait_for_function(DRAWN)
    assert seen.page.title() == f"{HOSTILE[0]} · fanflare"
    shown = seen.page.locator("main").inner_text()
    assert all(name in shown for name in HOSTILE)
    assert seen.page.locator("main img, main [onload], main a[href^=javascript]").count() == 0
    assert seen.complaints == []
    assert seen.requests == [path.as_uri()]


def test_two_thousand_trials_load_within_seconds(watch: Open, tmp_path: Path) -> None:
    results = [
        result
        for number in range(400)
        for result in seeds(0.5 + number / 1000, rate=number % 20, decay=number // 20)
    ]
    assert len(results) == 2000
    path = tmp_path / "large.html"
    path.write_text(page_of(Report("large", State.FINISHED, results)), encoding="utf-8")
    seen = watch(path.as_uri())
    took_s = (
        seen.page.evaluate("performance.timing.loadEventEnd - performance.timing.navigationStart")
        / 1000
    )
    size_mb = path.stat().st_size / 1e6
    print(f"a report of {len(results)} trials, {size_mb:.1f} MB: {took_s:.2f} s")  # noqa: T201
    assert 0 < took_s < 10
    assert seen.complaints == []
