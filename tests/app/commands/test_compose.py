"""What cannot be composed is said before anything is computed; how it is composed is told with tests/worker."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import Result

from app.client import Client
from app.commands.compose import _faults, _table, _told
from app.commands.console import out
from app.report import Missed, Rate, Verdict, VerdictKind
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


def _composition(verdict: Verdict) -> Composition:
    share = Rate(cases=10, hits=7, rate=0.7, low=0.0, high=1.0)
    none = Rate(cases=0, hits=0, rate=None, low=None, high=None)
    passed = Verdict(kind=VerdictKind.PASSED, missed=[])
    parts = (Judged("del_one", share, share, none, verdict), Judged("del_two", share, share, share, passed))
    return Composition({}, 16, True, parts, Drift(100, 0.001, 0.002, 0.99))


PASSED = Verdict(kind=VerdictKind.PASSED, missed=[])
MISSED = Verdict(kind=VerdictKind.MISSED, missed=[Missed(threshold="success of target 0", required=0.95, measured=0.7)])


def test_what_misses_a_threshold_or_cannot_be_asked_is_a_fault() -> None:
    assert _faults(_composition(PASSED)) == []
    assert _faults(_composition(MISSED)) == ["del_one: success of target 0 0.7 of 0.95"]
    none = Rate(cases=0, hits=0, rate=None, low=None, high=None)
    purged = Judged("del_old", none, none, none, Verdict(kind=VerdictKind.INSUFFICIENT_EVIDENCE, missed=[]))
    (fault,) = _faults(replace(_composition(PASSED), parts=(purged,)))
    assert "del_old: its evidence is purged" in fault


def test_the_table_and_the_json_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    made = _composition(MISSED)
    out.print(_table(made))
    shown = capsys.readouterr().out
    assert "7/10" in shown
    assert "missed" in shown
    told = json.loads(json.dumps(_told(made, _faults(made))))
    assert (told["rank"], told["exact"], told["parts"][0]["success"]["hits"]) == (16, True, 7)
    assert told["parts"][0]["verdict"]["kind"] == "missed"


def test_what_cannot_be_meant_is_said_at_once(r2f: R2F, tmp_path: Path) -> None:
    assert "8, 16, 32, 64" in _refused(r2f("compose", "del_1", "--rank", "20"))
    assert "no folder" in _refused(r2f("compose", "del_1", "--to", str(tmp_path / "nowhere" / "composed.zip")))
