"""Schemathesis over the whole OpenAPI, call by call and along its links: no failure, and every answer as promised.

R2F_SCHEMA_EXAMPLES sets how many requests are made up per operation; `make faults` uses more than the suite does.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from app.main import create_app
from app.settings import Settings
from tests.conftest import caller

EXAMPLES = int(os.environ.get("R2F_SCHEMA_EXAMPLES", "5"))
CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance]
SEEDED = settings(
    max_examples=EXAMPLES,
    stateful_step_count=4,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
SCHEMA = schemathesis.openapi.from_dict(create_app(Settings()).openapi())
OPERATIONS = {result.ok().label: result.ok() for result in SCHEMA.get_all_operations()}
ENDLESS = "GET /deletions/{deletion_id}/events"  # tests/app/test_events.py follows streams


@contextmanager
def service(template: Path, data: Path) -> Iterator[Any]:
    """A caller of a service with an empty database."""
    data.mkdir(exist_ok=True)
    (data / "r2f.db").write_bytes(template.read_bytes())
    with caller(Settings(data_dir=data, log_level="ERROR")) as client:
        yield client


@pytest.fixture(scope="module")
def api(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory):
    """The service that is called."""
    with service(sqlite_template, tmp_path_factory.mktemp("data")) as client:
        yield client


def _checks(case: Any) -> list[Any]:
    """What must hold of an answer. A service that is not ready says so with a 503, which is no failure."""
    return [check for check in CHECKS if check is not not_a_server_error or case.path != "/readyz"]


def _without_cookies(case: Any) -> dict[str, Any]:
    """What is sent; a client keeps its own cookies."""
    wanted: dict[str, Any] = case.as_transport_kwargs(base_url="http://127.0.0.1:8000")
    wanted.pop("cookies", None)
    return wanted


def sent(api: Any, case: Any) -> Any:
    """The answer to a made-up request, as the schema's checks read it."""
    answer = api.request(**_without_cookies(case))
    case.validate_response(answer, checks=_checks(case))
    return answer


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {ENDLESS}))
def test_every_answer_is_one_that_the_schema_promises(api: Any, name: str):
    @SEEDED
    @given(case=OPERATIONS[name].as_strategy())
    def call(case: Any) -> None:
        sent(api, case)

    call()


def test_what_a_call_answers_leads_to_the_calls_that_it_links_to(sqlite_template: Path, tmp_path: Path):
    walks = count()

    class Walk(SCHEMA.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            """A service of its own for every walk: the same calls then meet the same answers when they are repeated."""
            self.serving = service(sqlite_template, tmp_path / str(next(walks)))
            self.api = self.serving.__enter__()

        def teardown(self) -> None:
            self.serving.__exit__(None, None, None)

        def call(self, case: Any, **_: Any) -> Any:
            return Response.from_any(self.api.request(**_without_cookies(case)))

        def validate_response(self, response: Any, case: Any, **_: Any) -> None:
            case.validate_response(response, checks=_checks(case))

    Walk.run(settings=SEEDED)
