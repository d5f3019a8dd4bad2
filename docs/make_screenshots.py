"""Makes the README's pictures from a real run of the quickstart; knows no part of the package.

A developer's script: it needs tmux, Chromium, and playwright in the environment beside fanflare.

    python docs/make_screenshots.py --store /tmp/pictures

The first run on a store takes as long as the quickstart; `docs/images` is written anew.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
FANFLARE = Path(sys.executable).parent / "fanflare"
SWEEP = "examples/quickstart.yaml"
WIDTH, HEIGHT = 80, 60
FIRST_TABLE = "privacy-qa"
"""The end of the run is shown from this leaderboard on."""
SHARE_SHOWN = 0.7
"""The live display is taken when this part of the trials is done."""
CONFIGS = "tags.`fanflare.kind` = 'config' and params.task = 'rotten-tomatoes'"
COLUMNS = (
    "validation/accuracy_mean",
    "validation/accuracy_std",
    "test/accuracy_mean",
    "test/n",
)
HIDDEN_COLUMNS = ("Dataset", "Source", "Models")


class Terminal:
    """A terminal in which commands are typed, and what it shows."""

    def __init__(self) -> None:
        self._tmux("new-session", "-d", "-x", str(WIDTH), "-y", str(HEIGHT), "-s", "pictures")
        self._tmux("set-option", "-g", "history-limit", "1000")

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


def picture_of_terminal(browser: Browser, store: Path) -> None:
    """Show a run on its way, and how it ends."""
    under_way, ended = recorded_run(store)
    first = next(n for n, line in enumerate(ended) if plain(line).startswith(FIRST_TABLE))
    last = next(n for n, line in enumerate(ended) if "In MLflow" in line)
    frame = [line for line in under_way if plain(line)]
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    for line in [f"$ fanflare run {SWEEP}", *frame[1:], "", "...", "", *ended[first : last + 1]]:
        console.print(Text.from_ansi(line), soft_wrap=True)
    page = browser.new_page(viewport={"width": 1000, "height": 1000})
    page.set_content(f"<body style='margin:0'>{console.export_svg(title='fanflare')}</body>")
    page.locator("svg").first.screenshot(path=IMAGES / "terminal.png", omit_background=True)
    page.close()


def recorded_run(store: Path) -> tuple[list[str], list[str]]:
    """Run the sweep in a terminal; return its lines on the way, and at the end."""
    terminal = Terminal()
    try:
        terminal.type(f"cd {ROOT} && PS1='$ ' && PATH={FANFLARE.parent}:$PATH && clear")
        terminal.type(f"FANFLARE_STORE={store} fanflare run {SWEEP}")
        under_way = ""
        while "In MLflow" not in (screen := terminal.shown()):
            done = re.search(r"(\d+)/(\d+) trials", screen)
            if done and int(done[1]) <= SHARE_SHOWN * int(done[2]):
                under_way = screen
            time.sleep(0.5)
    finally:
        terminal.close()
    return under_way.splitlines(), screen.splitlines()


def plain(line: str) -> str:
    """Return a line without its colours."""
    return Text.from_ansi(line).plain.strip()


def picture_of_mlflow(browser: Browser, store: Path) -> None:
    """Show the configs of one task in a table, best first."""
    with _ui(store) as url:
        page = browser.new_page(viewport={"width": 1680, "height": 480})
        state = {"workflowType": "machine_learning", "searchFilter": CONFIGS}
        state |= {"orderByKey": f"metrics.`{COLUMNS[0]}`", "orderByAsc": "false"}
        page.goto(f"{url.partition('?')[0]}?{urlencode(state, quote_via=quote)}")
        page.get_by_role("button", name="Close").click(timeout=30_000)  # MLflow's assistant
        page.get_by_role("button", name="Columns", exact=True).click()
        search = page.get_by_placeholder("Search columns")
        for column in [*HIDDEN_COLUMNS, *COLUMNS]:
            search.fill(column)
            page.locator("[role=tree], .du-bois-light-tree").get_by_text(column).last.click()
        page.keyboard.press("Escape")
        headings = page.locator(".ag-header-cell", has_text=re.compile("Run Name|accuracy"))
        for edge in reversed(headings.locator(".ag-header-cell-resize").all()):
            edge.dblclick()  # which makes the column as wide as its content
        page.mouse.move(0, 0)
        page.wait_for_timeout(2_000)
        page.screenshot(path=IMAGES / "mlflow.png")
        page.close()


@contextmanager
def _ui(store: Path) -> Iterator[str]:
    command = [str(FANFLARE), "ui", SWEEP, "--store", str(store)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)  # noqa: S603
    assert server.stdout is not None
    try:
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Make both pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--only", choices=["terminal", "mlflow"])
    arguments = parser.parse_args()
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        if arguments.only != "mlflow":
            picture_of_terminal(browser, arguments.store.resolve())
        if arguments.only != "terminal":
            picture_of_mlflow(browser, arguments.store.resolve())
        browser.close()


if __name__ == "__main__":
    main()
