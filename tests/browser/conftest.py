"""What the tests in a browser share: Chromium, and a sweep that has run.

Playwright drives the Chromium of the system and downloads none.
"""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator import run
from orchestrator.comparing.report import Report
from tests.browser.made_up import write_sweep

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_MS = 60_000
"""For what takes a second on a quiet machine."""
HARMLESS = ("Failed to load resource",)
"""Beginnings of console messages about requests; these are counted where they matter."""


@dataclass
class Watched:
    """A page, and what it has asked for and complained of."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chromium."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if program is None:
        pytest.skip(f"no Chromium on this machine: none of {', '.join(CHROMIUMS)}")
    return program


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """Chromium, headless; not for the whole session, as Playwright occupies the event loop."""
    playwright = importlib.import_module("playwright.sync_api")
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    options = ["--no-sandbox"] if is_root else []
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=chromium, args=options)
        yield launched
        launched.close()


@pytest.fixture
def watch(browser: Any) -> Iterator[Callable[..., Watched]]:
    """Open pages of which nothing goes unnoticed; each in a context of its own."""
    contexts = []

    def opened(url: str, **settings: Any) -> Watched:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        contexts.append(context)
        context.set_default_timeout(TIMEOUT_MS)
        watched = Watched(page=context.new_page())
        page = watched.page
        page.on("request", lambda request: watched.requests.append(request.url))
        page.on("pageerror", lambda error: watched.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (watched.complaints.append("dialog"), dialog.dismiss()))
        page.on(
            "console",
            lambda message: (
                watched.complaints.append(message.text)
                if message.type in ("error", "warning") and not message.text.startswith(HARMLESS)
                else None
            ),
        )
        page.goto(url, wait_until="load")
        return watched

    yield opened
    for context in contexts:
        context.close()


@dataclass(frozen=True)
class Swept:
    """A sweep that has run."""

    file: Path
    report: Report


@pytest.fixture(scope="session")
def swept(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """The sweep of the made-up pipeline, in MLflow on SQLite."""
    file = write_sweep(tmp_path_factory.mktemp("made up sweep"))
    report = run(str(file), backend="inline")
    assert report.is_tracked
    return Swept(file, report)
