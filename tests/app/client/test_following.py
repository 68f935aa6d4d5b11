"""The client follows a deletion: events that break are taken up again, and a service that is gone ends it."""

import pytest
from pytest_httpserver import HTTPServer

from app import schemas, views
from app.access import LOCAL
from app.client import (
    Client,
    Unreachable,
)
from app.models import Stage, Status
from tests.app.client.conftest import NOBODY
from tests.app.conftest import Live
from tests.conftest import FRANCE


def event(live: Live, number: int, **changes: object) -> str:
    """An event as the service sends it."""
    row = live.services.deletions.submit(LOCAL, schemas.DeletionRequest.model_validate(FRANCE)).row
    view = views.DeletionView.of(row, None).model_copy(update={"id": NOBODY, **changes})
    return f"event: deletion\nid: {number}\nretry: 1\ndata: {view.model_dump_json()}\n\n"


def test_events_are_taken_up_again_where_they_broke(live: Live, httpserver: HTTPServer):
    path = f"/deletions/{NOBODY}/events"
    first = event(live, 1) + ": still here\n\n" + event(live, 2, status=Status.RUNNING, stage=Stage.VIEWS)
    httpserver.expect_ordered_request(path).respond_with_data(first, content_type="text/event-stream")
    httpserver.expect_ordered_request(path, headers={"Last-Event-ID": "2"}).respond_with_data(
        event(live, 3, status=Status.COMPLETED), content_type="text/event-stream"
    )
    with Client(httpserver.url_for("/")) as caller:
        assert [now.status for now in caller.watch(NOBODY)] == ["queued", "running", "completed"]


def test_a_service_that_stays_away_ends_the_watching(live: Live):
    path = f"/deletions/{NOBODY}/events"
    server = HTTPServer()  # its own: the one of the fixture is shared with every test that follows
    server.start()
    server.expect_ordered_request(path).respond_with_data(event(live, 1), content_type="text/event-stream")
    told: list[int] = []
    with Client(server.url_for("/"), patience=1) as caller:
        watched = caller.watch(NOBODY, waiting=lambda: told.append(1))
        assert next(watched).status == "queued"
        server.stop()
        assert told == []
        with pytest.raises(Unreachable):
            next(watched)
    assert told == [1]
