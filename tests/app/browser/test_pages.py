"""Every page in a real browser: no error, no barrier, no overflow, in both themes, at a desk and on a phone."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.app.browser.conftest import log_in, submit
from tests.browser import Visit
from tests.conftest import worker_on
from tests.reports import FullPipeline
from tests.serving import Served
from tests.showcase import EMPTY, Shown

WIDTHS = (1280, 390)  # a desk and a phone
NARROWEST = 320  # that WCAG 1.4.10 asks for
SCHEMES = ("light", "dark")
ROOT = Path(__file__).resolve().parents[3]


def look(
    context: BrowserContext, address: str, scheme: str, seen: str = "", known: frozenset[str] = frozenset()
) -> None:
    """See a page at a desk and on phones: nothing goes wrong in it, nobody is barred, and it fits.

    Args:
        scheme: the theme; barriers on a phone are looked for in one of them, colours being the same at any width.
        seen: what the page says once it is whole.
        known: rules that it is known to break.
    """
    visit = Visit(context.new_page())
    answer = visit.page.goto(address)
    refused = f"the server responded with a status of {answer.status}" if answer and answer.status >= 400 else None
    expect(visit.page.locator("body")).to_contain_text(seen)
    for width in WIDTHS:
        visit.page.set_viewport_size({"width": width, "height": 844})
        assert not visit.overflows(), (address, width)
        if width == WIDTHS[0] or scheme == SCHEMES[0]:
            assert [one for one in visit.barriers() if one.partition(":")[0] not in known] == [], (address, width)
    visit.page.set_viewport_size({"width": NARROWEST, "height": 844})
    assert not visit.overflows(), (address, NARROWEST)
    assert [said for said in visit.wrong if refused is None or refused not in said] == [], address
    visit.page.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_page_has_errors_or_barriers_at_a_desk_or_on_a_phone(browser: Browser, shown: Shown, scheme):
    served, pages = shown
    context = browser.new_context(color_scheme=scheme)
    for path in pages.values():
        look(context, served.url + path, scheme)
    context.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_no_plain_page_has_none_either(browser: Browser, served: Served, tmp_path: Path, scheme):
    done = submit(served)
    worker_on(served.services, FullPipeline()).runner.work()
    context = browser.new_context(color_scheme=scheme)
    for path in EMPTY.values():
        look(context, served.url + path, scheme)
    nested = frozenset({"nested-interactive"})  # Swagger UI's: the path within a call's button is a link
    look(context, f"{served.url}/docs#/deletions/submit_deletion", scheme, seen="Execute", known=nested)
    file = tmp_path / "report.html"
    file.write_bytes(httpx.get(f"{served.url}/deletions/{done}/report?download").content)
    look(context, file.as_uri(), scheme)
    log_in(context, served)
    for path in ("/", "/ui/workers", f"/ui/deletions/del_{'0' * 32}"):
        look(context, served.url + path, scheme, seen="Log out")
    context.close()


def test_pictures_of_pages_are_taken_by_a_command(browser: Browser, tmp_path: Path):
    command = [sys.executable, "-m", "docs.screenshots", "--first-screen", str(tmp_path), "empty queue", "no such page"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    sheet = (tmp_path / "index.html").read_text("utf-8")
    taken = {path.name for path in tmp_path.glob("*.png")}
    names = ("empty-queue", "no-such-page")
    assert taken == {
        f"{name}-{width}-{scheme}.png" for name in names for width in ("desk", "phone") for scheme in SCHEMES
    }
    assert all(name in sheet for name in taken)


def test_a_key_that_is_refused_is_said_to_everybody(browser: Browser, served: Served):
    visit = Visit(browser.new_page())
    visit.page.goto(f"{served.url}/ui/login")
    visit.page.get_by_label("API key").fill("r2f_mistyped")
    visit.page.keyboard.press("Enter")
    expect(visit.page.get_by_role("alert")).to_contain_text("not one that works here")
    assert visit.barriers() == []


def test_on_a_phone_each_reply_takes_the_whole_width(browser: Browser, shown: Shown):
    served, pages = shown
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(served.url + pages["report forgotten"])
    widths = "cells => cells.map(cell => cell.offsetWidth / cell.parentElement.offsetWidth)"
    assert min(page.locator(".replies td").evaluate_all(widths)) > 0.95
    context.close()


def test_on_a_phone_what_a_cell_says_stands_beside_its_label(browser: Browser, shown: Shown):
    served, pages = shown
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(served.url + pages["workers"])
    left = "all => all.map(one => one.getBoundingClientRect().left)"
    (doing,) = page.get_by_text("curvature: 41%").evaluate_all(left)
    assert doing == min(page.locator("td .badge").evaluate_all(left))
    context.close()


def test_plots_can_be_read_on_a_phone(browser: Browser, shown: Shown):
    served, pages = shown
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(served.url + pages["report forgotten"])
    heights = page.locator(".chart text").evaluate_all("all => all.map(one => one.getBoundingClientRect().height)")
    assert min(heights) > 11  # pixels
    sides = page.locator(".chart text").evaluate_all(
        "all => all.map(one => [one.getBoundingClientRect(), one.closest('figure').getBoundingClientRect()])"
        ".map(([one, card]) => Math.min(one.left - card.left, card.right - one.right))"
    )
    assert min(sides) > 0
    context.close()


def test_the_check_for_barriers_can_fail(browser: Browser):
    visit = Visit(browser.new_page())
    visit.page.set_content('<p style="color:#ccc;background:#fff">pale</p><input>')
    assert {barrier.partition(":")[0] for barrier in visit.barriers()} >= {"color-contrast", "label"}
