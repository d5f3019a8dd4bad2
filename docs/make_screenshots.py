"""Makes the pictures of README and docs from a real run of a sweep; knows no part of the package.

A developer's script: it needs Chromium, playwright in the environment beside fanflare, and tmux for
the picture of the terminal.

    python docs/make_screenshots.py --store /tmp/pictures

The picture of the terminal runs the sweep, which takes as long as it takes; all others show what
the store has (`--only report mlflow compare note`). `docs/images` is written anew.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import Browser, Locator, Page, sync_playwright
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
FANFLARE = Path(sys.executable).parent / "fanflare"
COLUMNS, LINES = 80, 70
FIRST_TABLE = "chosen"
"""The end of the run is shown from this table on."""
SHARE_SHOWN = 0.7
"""The live display is taken when this part of the trials is done."""
TIMEOUT_MS = 120_000
NUM_COMPARED = 5
TASK = "rotten-tomatoes"
"""Of which configs are compared."""
DRAWN = (("learning_rate", "epochs"), ("validation/mean", "test/mean"))
"""Params and metrics along which they are drawn."""
TRAINING = "workflowType=machine_learning"
"""Tells MLflow's pages that this is about training."""
NO_ASSISTANT = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
"""Says that MLflow's assistant has shown itself once."""


@dataclass(frozen=True)
class Studio:
    """What every picture needs."""

    browser: Browser
    sweep: str
    store: Path
    images: Path

    def page(self, width: int, height: int) -> Page:
        """Return an empty page."""
        page = self.browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(TIMEOUT_MS)
        page.add_init_script(NO_ASSISTANT)
        return page

    def save(self, name: str, shown: Page | Locator) -> None:
        """Save what a page shows."""
        shown.screenshot(path=self.images / f"{name}.png")

    def fanflare(self, *arguments: str) -> list[str]:
        """Return a command on the sweep."""
        return [str(FANFLARE), arguments[0], self.sweep, "--store", str(self.store), *arguments[1:]]


class Terminal:
    """A terminal in which commands are typed, and what it shows."""

    def __init__(self) -> None:
        self._tmux("new-session", "-d", "-x", str(COLUMNS), "-y", str(LINES), "-s", "pictures")

    def type(self, line: str) -> None:
        """Type a line and press Enter."""
        self._tmux("send-keys", line, "Enter")

    def shown(self) -> str:
        """Return what is on the screen, with its colours."""
        return self._tmux("capture-pane", "-e", "-p")

    def close(self) -> None:
        """End the terminal and what runs in it."""
        self._tmux("kill-server")

    def _tmux(self, *arguments: str) -> str:
        command = ["tmux", "-L", "fanflare-pictures", *arguments]
        ended = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
        return ended.stdout


def terminal(studio: Studio) -> None:
    """Show a run on its way, and how it ends."""
    under_way, ended = recorded_run(studio)
    first = next(n for n, line in enumerate(ended) if plain(line).startswith(FIRST_TABLE))
    last = next(n for n, line in enumerate(ended) if "In MLflow" in line)
    frame = [line for line in under_way if plain(line)]
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    command = f"$ fanflare run {studio.sweep}"
    for line in [command, *frame[1:], "", "...", "", *ended[first : last + 1]]:
        console.print(Text.from_ansi(line), soft_wrap=True)
    page = studio.page(1000, 1000)
    page.set_content(f"<body style='margin:0'>{console.export_svg(title='fanflare')}</body>")
    studio.save("terminal", page.locator("svg").first)


def recorded_run(studio: Studio) -> tuple[list[str], list[str]]:
    """Run the sweep in a terminal; return its lines on the way, and at the end."""
    screen = Terminal()
    try:
        screen.type(f"cd {ROOT} && PS1='$ ' && PATH={FANFLARE.parent}:$PATH && clear")
        screen.type(f"FANFLARE_STORE={studio.store} fanflare run {studio.sweep}")
        under_way = ""
        while "In MLflow" not in (shown := screen.shown()):
            done = re.search(r"(\d+)/(\d+) trials", shown)
            if done and int(done[1]) <= SHARE_SHOWN * int(done[2]):
                under_way = shown
            time.sleep(0.5)
    finally:
        screen.close()
    return under_way.splitlines(), shown.splitlines()


def plain(line: str) -> str:
    """Return a line without its colours."""
    return Text.from_ansi(line).plain.strip()


def report(studio: Studio) -> None:
    """Show the beginning of the report."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        command = studio.fanflare("report", "--html", str(path))
        subprocess.run(command, check=True, cwd=ROOT)  # noqa: S603
        page = studio.page(1280, 1100)
        page.goto(path.as_uri())
        page.locator("#leaderboard .plot .main-svg").first.wait_for()
        page.wait_for_timeout(1_000)
        studio.save("report", page)


def mlflow(studio: Studio) -> None:
    """Show the configs as `fanflare ui` opens them."""
    with ui(studio) as url:
        page = studio.page(1500, 640)
        open_configs(page, url)
        studio.save("mlflow", page)


def compare(studio: Studio) -> None:
    """Show five configs side by side."""
    with ui(studio) as url:
        page = studio.page(1500, 900)
        open_configs(page, url)
        search = page.get_by_placeholder("metrics.rmse")
        search.fill(f"tags.`fanflare.kind` = 'config' and params.task = '{TASK}'")
        search.press("Enter")
        page.get_by_text(f"{NUM_COMPARED} matching runs").wait_for()
        for box in page.get_by_role("checkbox", name=re.compile("toggle row selection")).all():
            box.check()
        page.get_by_role("button", name="Compare", exact=True).click()
        page.get_by_text(f"Comparing {NUM_COMPARED} Runs").wait_for()
        page.goto(f"{page.url}&{TRAINING}")
        page.get_by_role("button", name="Clear All").click()
        for number, names in enumerate(DRAWN):  # the boxes of params and of metrics
            box = page.locator("main").get_by_role("combobox").nth(number)
            for name in names:
                box.click()  # it takes no text before
                box.fill(name)
                page.wait_for_timeout(500)
                page.keyboard.press("Enter")
            page.keyboard.press("Escape")
        page.wait_for_timeout(2_000)
        studio.save("mlflow-compare", page)


def note(studio: Studio) -> None:
    """Show the sweep's own run with its note."""
    with ui(studio) as url:
        page = studio.page(1280, 900)
        runs, query = url.partition("?")[0], quote("tags.`fanflare.kind` = 'sweep'")
        page.goto(f"{runs}?{TRAINING}&searchFilter={query}")
        page.get_by_text("1 matching run").wait_for()
        page.get_by_role("gridcell").get_by_role("link").first.click()
        heading = page.get_by_role("heading", name="Description")
        heading.wait_for()
        page.goto(f"{page.url.partition('?')[0]}?{TRAINING}")
        page.get_by_text("Show more", exact=True).click()
        page.wait_for_timeout(2_000)
        studio.save("mlflow-note", page)


def open_configs(page: Page, url: str) -> None:
    """Open the page that `fanflare ui` names, without the line that MLflow lays over it."""
    page.goto(url)
    page.get_by_text("matching runs").wait_for()
    page.get_by_role("button", name="Hide banner").click()
    page.mouse.move(0, 0)
    page.wait_for_timeout(3_000)


@contextmanager
def ui(studio: Studio) -> Iterator[str]:
    """Yield the address of the sweep in MLflow."""
    command = studio.fanflare("ui")
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)  # noqa: S603
    assert server.stdout is not None
    try:
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait()


PICTURES = {picture.__name__: picture for picture in (terminal, report, mlflow, compare, note)}


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--sweep", default="examples/quickstart.yaml")
    parser.add_argument("--images", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--only", nargs="+", choices=PICTURES, default=list(PICTURES))
    arguments = parser.parse_args()
    arguments.images.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        store, images = arguments.store.resolve(), arguments.images.resolve()
        studio = Studio(browser, arguments.sweep, store, images)
        for name in arguments.only:
            PICTURES[name](studio)
        browser.close()


if __name__ == "__main__":
    main()
