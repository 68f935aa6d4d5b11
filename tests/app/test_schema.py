"""Schemathesis over the whole OpenAPI, call by call and along its links: no failure, and every answer as promised.

R2F_SCHEMA_EXAMPLES sets how many requests are made up per operation; `make faults` uses more than the suite does.
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.transport import Response
from schemathesis.specs.openapi import checks

from app.main import create_app
from app.openapi_examples import EXAMPLES
from app.settings import Settings
from tests.conftest import FRANCE, FakePipeline, caller, wired, worker_on
from tests.summary import at_the_end

MADE_UP = int(os.environ.get("R2F_SCHEMA_EXAMPLES", "5"))
# Not among them: that whatever fits the schema is accepted. No schema says which models and addresses are registered.
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]
SEEDED = settings(
    max_examples=MADE_UP,
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


@dataclass
class Summary:
    """The row of a kind of call in the table at the end."""

    operations: set[str] = field(default_factory=set)
    answers: Counter[int] = field(default_factory=Counter)  # by the hundreds of their status
    checks: int = 0
    failures: int = 0


SUMMARIES: defaultdict[str, Summary] = defaultdict(Summary)


def table() -> Iterator[str]:
    """Schemathesis' summary."""
    yield f"of {len(OPERATIONS)} operations; checks: {', '.join(check.__name__ for check in CHECKS)}"
    hundreds = f"{'2xx':>7}{'3xx':>5}{'4xx':>7}{'5xx':>5}"
    yield f"{'calls that':28}{'operations':>11}{'calls':>8}{hundreds}{'checks':>9}{'failed':>8}"
    for kind, row in SUMMARIES.items():
        ok, moved, refused, broken = (row.answers[hundred] for hundred in (2, 3, 4, 5))
        figures = f"{len(row.operations):11}{row.answers.total():8}{ok:7}{moved:5}{refused:7}{broken:5}"
        yield f"{kind:28}{figures}{row.checks:9}{row.failures:8}"


@contextmanager
def service(template: Path, data: Path) -> Iterator[TestClient]:
    """A caller of a service with an empty database."""
    data.mkdir(exist_ok=True)
    (data / "r2f.db").write_bytes(template.read_bytes())
    with caller(Settings(data_dir=data, log_level="ERROR")) as client:
        yield client


@pytest.fixture(scope="module")
def api(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory):
    """The service that is called."""
    at_the_end("schemathesis", table)
    with service(sqlite_template, tmp_path_factory.mktemp("data")) as client:
        yield client


@pytest.fixture(scope="module")
def known(api: TestClient) -> dict[str, str]:
    """What is there, by the name of the parameter that asks for it."""
    deletion = api.post("/deletions", json=FRANCE).json()["id"]
    worker_on(wired(api), FakePipeline()).runner.work()
    assert api.get(f"/deletions/{deletion}").json()["status"] == "completed"
    webhook = api.post("/webhooks", json={"url": "https://privacy.example.org/r2f"}).json()["id"]
    return {"deletion_id": deletion, "webhook_id": webhook, "file": "README.md", "model_id": FRANCE["model"]}


def _checks(case: Any) -> list[Any]:
    """What must hold of an answer. A service that is not ready says so with a 503, which is no failure."""
    return [check for check in CHECKS if check is not not_a_server_error or case.path != "/readyz"]


def _send(api: TestClient, case: Any) -> Any:
    """Make a call as it was made up, without cookies: a client keeps its own."""
    wanted: dict[str, Any] = case.as_transport_kwargs(base_url="http://127.0.0.1:8000")
    wanted.pop("cookies", None)
    if isinstance(wanted.get("data"), bytes | str):
        wanted["content"] = wanted.pop("data")  # as httpx calls what is no form
    return api.request(**wanted)


def _judge(case: Any, answer: Any, kind: str) -> None:
    """See that an answer is as the schema promises, and count it."""
    summary, judges = SUMMARIES[kind], _checks(case)
    summary.operations.add(case.operation.label)
    summary.answers[answer.status_code // 100] += 1
    summary.checks += len(judges)
    try:
        case.validate_response(answer, checks=judges)
    except BaseException:
        summary.failures += 1
        raise


def _fit(case: Any, known: Mapping[str, str]) -> None:
    """Name what is there, where a schema cannot say what that is."""
    if case.path == "/deletions" and isinstance(case.body, dict):
        case.body |= FRANCE
        case.body.pop("callback_url", None)
        case.body.get("options", {}).pop("sketch_rank", None)
    for name in set(case.path_parameters or ()) & set(known):
        case.path_parameters[name] = known[name]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {ENDLESS}))
def test_every_answer_is_one_that_the_schema_promises(api: TestClient, known, name: str, mode: GenerationMode):
    turns = count()

    @SEEDED
    @given(case=OPERATIONS[name].as_strategy(generation_mode=mode))
    def call(case: Any) -> None:
        fits = mode is GenerationMode.POSITIVE
        if fits and next(turns) % 2 == 0:
            _fit(case, known)
        _judge(case, _send(api, case), "fit the schema" if fits else "do not fit the schema")

    try:
        call()
    except Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE
        pytest.skip("takes nothing that could be wrong")


def test_what_a_call_answers_leads_to_the_calls_that_it_links_to(sqlite_template: Path, tmp_path: Path):
    at_the_end("schemathesis", table)
    walks = count()

    class Walk(SCHEMA.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            """A service of its own for every walk: the same calls then meet the same answers when they are repeated."""
            self.turns = count()
            self.serving = service(sqlite_template, tmp_path / str(next(walks)))
            self.api = self.serving.__enter__()

        def teardown(self) -> None:
            self.serving.__exit__(None, None, None)

        def call(self, case: Any, **_: Any) -> Any:
            """Of two deletions that are accepted a worker ends one, so that links lead to results as well."""
            _fit(case, {})
            answer = _send(self.api, case)
            if answer.status_code == 202 and next(self.turns) % 2 == 0:
                worker_on(wired(self.api), FakePipeline()).runner.work()
            return Response.from_any(answer)

        def validate_response(self, response: Any, case: Any, **_: Any) -> None:
            _judge(case, response, "follow links")

    # few walks lead anywhere: most of what is made up is refused
    Walk.run(settings=settings(SEEDED, max_examples=max(MADE_UP, 20), stateful_step_count=6))
    assert SUMMARIES["follow links"].answers[2], "no link led anywhere"


ACCEPTED, HEALTH = "POST /deletions", "GET /healthz"
WRONG = {
    "a failure": (HEALTH, 500, "application/json", b"{}"),
    "a status of which nothing is said": (HEALTH, 418, "application/json", b"{}"),
    "another type": (HEALTH, 200, "text/plain", b'{"status": "ok"}'),
    "another form": (HEALTH, 200, "application/json", b'{"status": 1}'),
    "a header that is missing": (ACCEPTED, 202, "application/json", json.dumps(EXAMPLES["Receipt"]).encode()),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_the_checks_can_fail(wrong: str):
    name, status, media_type, body = WRONG[wrong]
    request = httpx.Request("GET", "http://127.0.0.1")
    answer = httpx.Response(status, headers={"content-type": media_type}, content=body, request=request)
    answer.elapsed = timedelta(0)
    with pytest.raises((Failure, FailureGroup)):
        OPERATIONS[name].Case().validate_response(Response.from_any(answer), checks=CHECKS)
