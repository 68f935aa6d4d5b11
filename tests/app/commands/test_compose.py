"""What cannot be composed is said before anything is computed; how it is composed is told with tests/worker."""

import json
from pathlib import Path

import pytest
from typer.testing import Result

from app.client import Client
from app.commands.compose import _faults, _table, _told
from app.commands.console import out
from app.report import Rate, VerdictKind
from tests.app.commands.conftest import PARIS, R2F, ended
from tests.app.conftest import Live
from worker.composing import Composition, Judged
from worker.r2f.drift import Drift


def _refused(done: Result) -> str:
    assert done.exit_code == 2, done.output
    return " ".join(done.stderr.split())


def test_a_deletion_without_an_adapter_is_refused(r2f: R2F, live: Live, tmp_path: Path) -> None:
    with Client(live.url) as client:
        waiting = client.submit(PARIS).id
    to = ["--to", str(tmp_path / "composed.zip")]
    assert f"{waiting} is queued and has no adapter" in _refused(r2f("compose", waiting, *to))
    assert not (tmp_path / "composed.zip").exists()


def test_one_that_awaits_a_review_is_refused(r2f: R2F, live: Live) -> None:
    unsure = ended(live, VerdictKind.MISSED)
    assert f"{unsure} is needs_review" in _refused(r2f("compose", unsure))


def test_an_unknown_id_is_the_services_refusal(r2f: R2F) -> None:
    done = r2f("compose", "del_00000000000000000000000000")
    assert done.exit_code == 1
    assert "deletion" in done.stderr


def _composition(hits: int, kl: float) -> Composition:
    share = Rate(cases=10, hits=hits, rate=hits / 10, low=0.0, high=1.0)
    none = Rate(cases=0, hits=0, rate=None, low=None, high=None)
    parts = (Judged("del_one", share, share), Judged("del_purged", none, none))
    return Composition({}, 16, True, parts, Drift(100, kl, kl, 0.99))


def test_what_came_back_is_a_fault_and_what_was_purged_is_none() -> None:
    assert _faults(_composition(10, 0.001)) == []
    assert _faults(_composition(7, 0.02)) == [
        "del_one is forgotten on 7 of 10 phrasings",
        "del_one keeps 7 of 10 neighbours",
        "generic replies drift by 0.02 nats",
    ]


def test_the_table_and_the_json_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    made = _composition(7, 0.001)
    out.print(_table(made))
    shown = capsys.readouterr().out
    assert "7/10" in shown
    assert "nothing to ask: purged" in shown
    told = json.loads(json.dumps(_told(made, _faults(made))))
    assert (told["rank"], told["exact"], told["parts"][0]["success"]["hits"]) == (16, True, 7)
