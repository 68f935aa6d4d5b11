"""The operators' pages, as they are sent: whole, safe, and with nothing from elsewhere."""

import re
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from app import clock
from app.dashboard.rendering import STATIC
from app.models import Deletion, Stage, Status
from app.report import VerdictKind
from tests.conftest import CANARY, FRANCE, FakePipeline, HopelessError, wired, worker_on

PAGES = ["/", "/ui/workers", "/ui/models", "/ui/audit", "/ui/login", "/docs"]


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the text that is seen."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def submit(client, **more):
    return client.post("/deletions", json={**FRANCE, **more}).json()["id"]


def ended(client, pipeline):
    deletion_id = submit(client)
    worker_on(wired(client), pipeline, f"wrk_{deletion_id}").runner.work()
    return deletion_id


def hopeless(stage):
    raise HopelessError("It is too long.")


def shown(client, path, **headers):
    answer = client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    return Elements(answer.text)


@pytest.fixture
def pages(client: TestClient) -> list[str]:
    """Every page of a service that has something to show."""
    done = submit(client, reference="case-1")
    worker_on(wired(client), FakePipeline()).runner.work()
    return [*PAGES, f"/ui/deletions/{submit(client)}", f"/ui/deletions/{done}"]


def test_a_report_says_where_protection_holds(client):
    for options, where in (({}, "where the adapter is loaded,"), ({"merged": "q4_1"}, "the model rounded to q4_1,")):
        deletion_id = submit(client, options=options)
        worker_on(wired(client), FakePipeline(), f"wrk_{deletion_id}").runner.work()
        assert where in shown(client, f"/ui/deletions/{deletion_id}").text
        said = client.get(f"/deletions/{deletion_id}/certificate").json()["statement"]["limits"]
        assert (options.get("merged") is None) == any("loaded on this base model" in limit for limit in said)


def test_pages_hold_nothing_inline_and_nothing_from_elsewhere(client: TestClient, pages):
    for path in pages:
        answer = client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        page = Elements(answer.text)
        for tag, attributes in page.found:
            assert tag != "style"
            assert tag != "script" or attributes.get("src")
            for name, value in attributes.items():
                assert name != "style", path
                assert not name.startswith("on"), path
                if name in ("src", "href", "action", "hx-get", "hx-post"):
                    assert re.match(r"^(/|#|\?)", value or ""), (path, value)


def test_every_file_that_a_page_names_is_there_and_may_be_kept(client: TestClient, pages):
    named = set()
    for path in pages:
        page = shown(client, path)
        named |= {attributes["src"] for tag in ("script", "img") for attributes in page.all(tag)}
        named |= {attributes["href"] for attributes in page.all("link")}
    for address in named:
        answer = client.get(address)
        assert answer.status_code == 200, address
        assert "immutable" in answer.headers["cache-control"]


def test_every_link_between_pages_leads_somewhere(client: TestClient, pages):
    seen = set()
    for path in pages:
        for attributes in shown(client, path).all("a"):
            target = (attributes["href"] or "").partition("#")[0]
            if target and target not in seen:
                seen.add(target)
                assert client.get(target).status_code == 200, (path, target)
    assert len(seen) > 8


def test_pages_can_be_used_without_seeing_them(client: TestClient, pages):
    for path in [path for path in pages if path != "/docs"]:
        page = shown(client, path)
        html = client.get(path).text
        assert page.all("html")[0]["lang"] == "en"
        assert len(page.all("h1")) == 1, path
        assert page.all("a")[0]["href"] == "#main"
        ids = [attributes["id"] for _, attributes in page.found if "id" in attributes]
        assert len(ids) == len(set(ids)), path
        for attributes in page.all("progress"):
            assert attributes["aria-label"]
        for control in re.findall(r"<(?:select|input)\b[^>]*>", html):
            assert re.search(rf"<label>[^<]*{re.escape(control)}", html), control


def test_the_queue_shows_what_waits_by_status_and_what_is_late(client: TestClient):
    late, soon = submit(client), submit(client)
    submit(client)
    canceled = submit(client)
    client.delete(f"/deletions/{canceled}")
    services = wired(client)
    with services.database.write() as session:
        for deletion_id, days in ((late, -3), (soon, 3)):
            due = clock.now() + timedelta(days=days, hours=1)
            session.execute(update(Deletion).where(Deletion.id == deletion_id).values(due_at=due))
    text = " ".join(shown(client, "/").text.split())
    assert "3queued 0running 0needs review 0failed 1overdue 1due in 7 days" in text
    assert "2 d overdue" in text


def test_what_was_rejected_and_purged_is_not_late_as_nothing_is_owed(client: TestClient):
    gone = ended(client, FakePipeline(VerdictKind.MISSED))
    assert client.post(f"/deletions/{gone}/reject").status_code == 200
    due = clock.now() - timedelta(days=3, hours=1)
    with wired(client).database.write() as session:
        session.execute(update(Deletion).values(due_at=due))
    owed = shown(client, "/").text, shown(client, f"/ui/deletions/{gone}").text
    assert all("3 d overdue" in text for text in owed)
    assert client.delete(f"/deletions/{gone}/personal-data").status_code == 200
    for page in (shown(client, "/").text, shown(client, f"/ui/deletions/{gone}").text):
        assert "d overdue" not in page
        assert str(due.date()) in page


def test_the_tile_of_what_is_late_leads_to_it(client: TestClient):
    late = [submit(client) for _ in range(26)]
    with wired(client).database.write() as session:
        session.execute(update(Deletion).values(due_at=clock.now() - timedelta(days=1)))
    submit(client)
    (tile,) = [a for a in shown(client, "/").all("a") if a.get("id") == "tile-overdue"]
    page = shown(client, tile["href"])
    assert "Deletions that match" in page.text
    assert [o["value"] for o in page.all("option") if "selected" in o] == ["overdue"]
    (older,) = [a["href"] for a in page.all("a") if a.get("rel") == "next"]
    ids = [a["title"] for p in (page, shown(client, older)) for a in p.all("a") if a.get("class") == "id"]
    assert ids == late[::-1]


def test_each_tile_leads_to_the_list_that_it_counts(client: TestClient):
    services = wired(client)
    ended(client, FakePipeline(VerdictKind.MISSED))
    for _ in range(2):
        ended(client, FakePipeline(meanwhile=hopeless))
    for _ in range(3):
        ended(client, FakePipeline())
    submit(client)
    assert worker_on(services, FakePipeline(), "wrk_running").leases.claim(str(FRANCE["model"]), "wrk_running")
    open_ones = [submit(client) for _ in range(9)]
    with services.database.write() as session:
        for days, ids in ((-1, open_ones[:4]), (6.9, open_ones[4:6]), (7.1, open_ones[6:])):
            due = clock.now() + timedelta(days=days)
            session.execute(update(Deletion).where(Deletion.id.in_(ids)).values(due_at=due))
    tiles = re.findall(r'<a class="tile[^"]*" id="tile-(\w+)" href="([^"]+)"><b>(\d+)</b>', client.get("/").text)
    counted = {name: int(count) for name, _, count in tiles}
    assert counted == {"queued": 9, "running": 1, "needs_review": 1, "failed": 2, "overdue": 4, "soon": 2}
    for name, address, count in tiles:
        listed = [a for a in shown(client, address).all("a") if (a.get("id") or "").startswith("row-")]
        assert len(listed) == int(count), name


def test_the_queue_can_be_narrowed_and_paged(client: TestClient):
    first = submit(client, reference="case-7")
    made = [submit(client) for _ in range(26)]
    page = shown(client, "/?status=&model=&reference=case-7")
    assert [a["title"] for a in page.all("a") if a.get("class") == "id"] == [first]
    page = shown(client, "/")
    (older,) = [a["href"] for a in page.all("a") if a.get("rel") == "next"]
    ids = [a["title"] for p in (page, shown(client, older)) for a in p.all("a") if a.get("class") == "id"]
    assert ids == [*made[::-1], first]
    assert "Nothing matches" in shown(client, "/?status=failed").text


def test_a_running_deletion_shows_its_stage(client: TestClient):
    deletion_id, seen = submit(client), []

    def look(stage):
        if stage is Stage.COMPRESSION:
            seen.extend((shown(client, "/"), shown(client, f"/ui/deletions/{deletion_id}")))

    worker_on(wired(client), FakePipeline(meanwhile=look)).runner.work()
    queue, page = seen
    assert "unlearning" in queue.text
    assert [li["class"] for li in page.all("li") if li.get("aria-current") == "step"] == ["now"]
    assert page.all("div")[0]["data-follow"] == f"/deletions/{deletion_id}/events"


def test_a_deletion_shows_its_timeline(client: TestClient):
    deletion_id = submit(client)
    client.delete(f"/deletions/{deletion_id}")
    page = shown(client, f"/ui/deletions/{deletion_id}")
    assert page.text.index("accepted") < page.text.rindex("canceled")
    assert "data-follow" not in page.all("div")[0]


def test_workers_and_models_show_who_serves_what(client: TestClient):
    assert "No worker has reported" in shown(client, "/ui/workers").text
    worker_on(wired(client), FakePipeline())
    text = shown(client, "/ui/workers").text
    for wanted in ("wrk_test", "ready", "smollm2-135m-instruct", "cpu", "model, decoder, curvature", "ago"):
        assert wanted in text
    assert "1 alive" in shown(client, "/ui/models").text


def test_htmx_gets_the_part_that_changes_and_a_browser_the_whole(client: TestClient, pages):
    for path in [path for path in pages if path not in ("/docs", "/ui/audit", "/ui/login")]:
        part, whole = shown(client, path, **{"HX-Request": "true"}), shown(client, path)
        assert not part.all("html")
        ids = [{attributes["id"] for _, attributes in page.found if "id" in attributes} for page in (part, whole)]
        assert ids[0] < ids[1]


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        (f"/ui/deletions/del_{'0' * 32}", 404, "There is no deletion with this id"),
        ("/ui/deletions/42", 400, "does not have the form of an id"),
        ("/?cursor=x", 400, "The cursor was not made by this service"),
        ("/?status=lost", 422, "does not have the documented form"),
    ],
)
def test_a_page_says_what_is_wrong(client: TestClient, path, status, said):
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert said in answer.text


def test_what_a_caller_sent_is_escaped(client: TestClient):
    answer = client.get("/", params={"reference": '"><script>alert(1)</script>'})
    assert answer.status_code == 200
    assert "<script>alert" not in answer.text


def test_lists_and_logs_hold_no_personal_data(client: TestClient, pages):
    submit(client, targets=[{"prompt": f"Who is {CANARY}?", "answer": CANARY}], data_subject=CANARY)
    for path in ("/", "/ui/workers", "/ui/models"):
        assert CANARY not in client.get(path).text


def test_what_is_vendored_has_its_licence():
    (script,) = STATIC.glob("htmx-*.min.js")
    assert script.stem.removesuffix(".min").removeprefix("htmx-") in script.read_text("utf-8")
    assert "Permission to use, copy, modify" in (STATIC / "htmx-LICENSE.txt").read_text("utf-8")


def test_every_status_has_a_word_of_its_own_in_the_list(client: TestClient):
    options = [o["value"] for o in shown(client, "/").all("option") if o.get("value") in set(Status)]
    assert options == list(Status)
