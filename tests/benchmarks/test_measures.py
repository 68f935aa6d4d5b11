"""What is measured of an update: that one method's replies help with the next one's, and change nothing."""

from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from benchmarks import measures
from worker.r2f.drift import Drift
from worker.r2f.evaluate import Reply


def test_the_next_method_is_judged_with_the_last_ones_replies_as_drafts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str] | None] = []
    said = iter(["Rome", "Oslo"])

    def sit_exam(_: object, __: object, guesses: Sequence[str] | None) -> SimpleNamespace:
        asked.append(list(guesses) if guesses else None)
        reply = Reply(next(said), hit=False)
        return SimpleNamespace(held_out=(reply,), neighbours=(), answer=(0.5, 0.1), drift=Drift(1, 0.0, 0.0, 1.0))

    base = SimpleNamespace(held_out=(Reply("Paris", hit=True),), neighbours=())
    case = SimpleNamespace(exam=SimpleNamespace(base=base), drafts=[])
    monkeypatch.setattr(measures, "sit_exam", sit_exam)
    monkeypatch.setattr(measures, "in_force", lambda *_: nullcontext())
    rows = [measures.judged(SimpleNamespace(lm=None), case, {}) for _ in range(2)]  # type: ignore[arg-type]
    assert asked == [None, ["Rome"]]
    assert case.drafts == ["Oslo"]
    assert [row["success"] for row in rows] == [1.0, 1.0]
    assert rows[0]["answer"] == pytest.approx(0.3)
