"""The pages in a real browser: they are live, can be used, and survive what goes wrong."""

import re
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Dialog, Route, expect

from app import watching
from app.access import DEFAULT_TENANT, Scope
from app.models import Stage
from app.report import VerdictKind
from app.settings import Settings
from tests.app.browser.conftest import log_in, submit
from tests.browser import Visit
from tests.conftest import FRANCE, FakePipeline, worker_on
from tests.serving import Served, serving


def test_a_deletion_is_shown_live_to_its_end(browser: Browser, served: Served):
    deletion_id = submit(served)
    visit = Visit(browser.new_page())
    visit.page.goto(f"{served.url}/ui/deletions/{deletion_id}")
    badge = visit.page.locator(".head .badge").first
    expect(badge).to_have_text("queued")

    def see(stage: Stage) -> None:
        expect(badge).to_have_text("running")
        if stage is not Stage.VIEWS:
            expect(visit.page.locator(".stages .now")).to_have_text(list(Stage)[list(Stage).index(stage) - 1])

    worker_on(served.services, FakePipeline(meanwhile=see)).runner.work()
    expect(badge).to_have_text("forgotten")
    assert visit.wrong == []


def test_events_leave_the_focus_and_what_was_said_and_their_news_is_read_out(browser: Browser, served: Served):
    deletion_id = submit(served)
    page = browser.new_page()
    page.goto(f"{served.url}/ui/deletions/{deletion_id}?done=retry")
    cancel = page.get_by_role("button", name="Cancel")
    cancel.focus()
    assert worker_on(served.services, FakePipeline()).leases.claim(str(FRANCE["model"]), "wrk_test")
    expect(page.locator(".head .badge").first).to_have_text("running")
    expect(cancel).to_be_focused()
    expect(page.get_by_text("Queued once more")).to_be_visible()
    expect(page.locator("#told")).to_have_text("running")


def test_a_live_page_says_when_the_service_is_gone(browser: Browser, tmp_path: Path, sqlite_template: Path):
    (tmp_path / "r2f.db").write_bytes(sqlite_template.read_bytes())
    page = browser.new_page()
    with serving(Settings(data_dir=tmp_path, watch_seconds=0.05, log_level="WARNING")) as served:
        page.goto(f"{served.url}/ui/deletions/{submit(served)}")
        expect(page.locator("#offline")).to_be_hidden()
    expect(page.get_by_text("The service does not answer")).to_be_visible()


def test_a_live_page_whose_session_has_ended_leads_to_the_login(browser: Browser, served: Served, monkeypatch):
    monkeypatch.setattr(watching, "LONGEST_SECONDS", 1.0)
    deletion_id = submit(served)
    context = browser.new_context()
    key = log_in(context, served)
    page = context.new_page()
    page.goto(f"{served.url}/ui/deletions/{deletion_id}")
    expect(page.get_by_role("heading", level=1)).to_have_text(deletion_id)
    served.services.keys.revoke(key)
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
    context.close()


def test_a_stream_that_was_refused_is_asked_for_again(browser: Browser, served: Served):
    deletion_id, refused = submit(served), []
    page = browser.new_page()
    page.clock.install()

    def refuse_once(route: Route) -> None:
        if refused:
            route.continue_()
            return
        refused.append(route.request.url)
        route.fulfill(status=503)

    page.route("**/events", refuse_once)
    with page.expect_response(lambda answer: "hx-request" in answer.request.headers):
        page.goto(f"{served.url}/ui/deletions/{deletion_id}")
    page.clock.fast_forward(5000)
    httpx.delete(f"{served.url}/deletions/{deletion_id}")
    expect(page.locator(".head .badge").first).to_have_text("canceled")


def test_what_does_not_answer_is_given_up(browser: Browser, served: Served):
    page = browser.new_page()
    page.goto(served.url)
    assert page.evaluate("htmx.config.timeout") == 10_000


def test_where_storage_is_blocked_the_question_is_asked_all_the_same(browser: Browser, served: Served):
    deletion_id = submit(served)
    context = browser.new_context()
    context.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('no', 'SecurityError'); } })"
    )
    visit = Visit(context.new_page())
    visit.page.goto(f"{served.url}/ui/deletions/{deletion_id}")
    asked: list[str] = []
    visit.page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    visit.page.get_by_role("button", name="Cancel").click()
    assert "Cancel this deletion?" in asked[0]
    assert httpx.get(f"{served.url}/deletions/{deletion_id}").json()["status"] == "queued"
    theme = visit.page.get_by_role("button", name=re.compile("Theme"))
    theme.click()
    expect(theme).to_have_text("Theme: light")
    assert visit.wrong == []
    context.close()


def test_the_queue_renews_itself(browser: Browser, served: Served):
    visit = Visit(browser.new_page())
    visit.page.goto(served.url)
    expect(visit.page.get_by_text("No deletion yet")).to_be_visible()
    submit(served)
    expect(visit.page.locator("#tile-queued b")).to_have_text("1")


def test_the_theme_can_be_chosen_and_stays(browser: Browser, served: Served):
    context = browser.new_context(color_scheme="light")
    page = context.new_page()
    page.goto(served.url)
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    button = page.get_by_role("button", name=re.compile("Theme"))
    button.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert page.evaluate(ground) != light
    page.goto(f"{served.url}/ui/workers")
    assert page.evaluate(ground) != light
    expect(button).to_have_text("Theme: dark")
    context.close()


def test_the_keyboard_reaches_the_content_first_and_then_everything(browser: Browser, served: Served):
    submit(served)
    page = browser.new_page()
    page.goto(served.url)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    reached = []
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.name || ''"))
    assert {"status", "model", "reference", "tile-queued"} <= set(reached)
    assert any(name.startswith("row-del_") for name in reached)


def test_the_openapi_page_works_without_the_internet(browser: Browser, served: Served):
    visit = Visit(browser.new_page())
    visit.page.goto(f"{served.url}/docs#/deletions/submit_deletion")
    visit.page.get_by_role("button", name="Execute").click()
    expect(visit.page.locator(".live-responses-table .response-col_status").last).to_contain_text("202")
    assert visit.wrong == []


def test_an_adapter_is_approved_after_a_question_and_only_then(browser: Browser, served: Served):
    deletion_id = submit(served)
    worker_on(served.services, FakePipeline(VerdictKind.MISSED)).runner.work()
    visit = Visit(browser.new_page())
    visit.page.goto(f"{served.url}/ui/deletions/{deletion_id}")
    asked: list[str] = []

    def answer(dialog: Dialog) -> None:
        asked.append(dialog.message)
        if len(asked) == 1:
            dialog.dismiss()
        else:
            dialog.accept()

    visit.page.on("dialog", answer)
    approve = visit.page.get_by_role("button", name="Approve")
    approve.click()
    expect(visit.page.locator(".head .badge").first).to_have_text("needs review")
    assert httpx.get(f"{served.url}/deletions/{deletion_id}").json()["status"] == "needs_review"
    approve.click()
    expect(visit.page.get_by_text("Approved: the adapter is published.")).to_be_visible()
    expect(visit.page.get_by_role("link", name="Download the adapter")).to_be_visible()
    assert "although it is held back" in asked[1]
    assert visit.wrong == []


def test_an_operator_logs_in_acts_and_logs_out(browser: Browser, served: Served):
    deletion_id = submit(served)
    token = served.services.keys.create(DEFAULT_TENANT, "test", frozenset(Scope)).token
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{served.url}/ui/deletions/{deletion_id}")
    page.get_by_label("API key").fill(token)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(deletion_id)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".head .badge").first).to_have_text("canceled")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
    page.goto(served.url)
    expect(page.get_by_label("API key")).to_be_visible()
    context.close()
