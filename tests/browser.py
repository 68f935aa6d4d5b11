"""A real browser: Debian's Chromium, headless. Where there is none the tests that need it are skipped.

R2F_TEST_BROWSER=required makes a missing browser a failure; any other value but the empty one names the executable.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

PATIENCE_MILLISECONDS = 60_000  # a busy machine must not decide a test
WANTED = os.environ.get("R2F_TEST_BROWSER", "")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def executable() -> str:
    """Where Chromium is; skips, or fails where a browser is required, when there is none."""
    named = WANTED if WANTED not in ("", "required") else None
    found = named or shutil.which("chromium") or shutil.which("google-chrome")
    if found is None and WANTED == "required":
        pytest.fail("there is no Chromium, and R2F_TEST_BROWSER requires one")
    if found is None:
        pytest.skip("there is no Chromium on the PATH (Debian: apt-get install chromium)")
    return found


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser."""
    path = executable()
    expect.set_options(timeout=PATIENCE_MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page in a browser that writes down whatever goes wrong in it."""

    page: Page
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MILLISECONDS)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))

    def _hear(self, said: ConsoleMessage) -> None:
        """Refused by the policy, not found, failed: the browser says all of these in its console."""
        if said.type == "error":
            self.wrong.append(said.text)

    def overflows(self) -> bool:
        """Whether the page is wider than its window."""
        wider: bool = self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        return wider

    def barriers(self) -> list[str]:
        """What axe finds against WCAG 2 A and AA: contrast, labels, landmarks, names."""
        found = Axe().run(self.page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]})
        return [
            f"{violation['id']}: {node['html']}"
            for violation in found.response["violations"]
            for node in violation["nodes"]
        ]
