"""Methods beside each other: what is measured of one, its seconds, the controls of relearning; and the ablations."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.methods import Method
from app.schemas import DeletionRequest, PromptTarget
from benchmarks import ablations, cases, unlearning
from benchmarks.measures import Row
from benchmarks.runs import NOT_KNOWN
from benchmarks.unlearning import CONTROL
from worker.baselines.catalogue import BASELINES
from worker.baselines.task import Unlearned
from worker.errors import NoStep
from worker.r2f.config import Config
from worker.r2f.examples import Example
from worker.r2f.knowledge import Knowledge
from worker.r2f.text import Form, Prompt, continued
from worker.r2f.views import View

MODEL = "smollm2-135m-instruct"


def test_a_dense_update_without_a_step_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unlearning, "task_of", lambda *_: None)
    case = SimpleNamespace(config=Config(), known=None, kept=None)
    with pytest.raises(NoStep):
        unlearning.measured(
            SimpleNamespace(lm=None),  # type: ignore[arg-type]
            case,  # type: ignore[arg-type]
            [],
            Method.FULL_GRADIENT_DENSE,
            lambda task: Unlearned({}),
            whole=False,
        )


def test_benign_fine_tuning_teaches_other_facts_and_nothing_that_is_protected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unlearning, "_forget", lambda *_: ({"a site": "its change"}, nullcontext))
    for name in ("judged", "alike", "lasting"):
        monkeypatch.setattr(unlearning, name, lambda *_: {})
    monkeypatch.setattr(unlearning, "attacked", lambda _, views, update, examples, guesses: examples)
    lm = SimpleNamespace(whole_reply=lambda prompt, reply: f"{prompt.text} {reply}")
    view = View(0, Prompt("The capital of Italy?"), ("Rome",), "f", "bank")
    kept = SimpleNamespace(examples=("protected",))
    case = SimpleNamespace(config=Config(), views=(view,), kept=kept, curvature_seconds=lambda: 1.0, drafts=[])
    pairs = {"What is Italy's capital?": "Rome", "What is the capital of Spain?": "Madrid", "Where is Rome?": "Italy"}
    requests = [DeletionRequest(model=MODEL, targets=[PromptTarget(prompt=p, answer=a)]) for p, a in pairs.items()]
    row = unlearning.measured(SimpleNamespace(lm=lm), case, requests, Method.R2F, None, whole=True)  # type: ignore[arg-type]
    assert row["benign"] == ["What is the capital of Spain? Madrid"]


@pytest.mark.parametrize(
    ("method", "curved"), [(Method.R2F, True), (Method.FULL_GRADIENT_DENSE, True), (Method.NPO, False)]
)
def test_the_neighbours_curvature_is_in_the_seconds_of_those_that_use_it(
    monkeypatch: pytest.MonkeyPatch, method: Method, curved: bool
) -> None:
    monkeypatch.setattr(unlearning, "_forget", lambda *_: ({}, nullcontext))
    for name in ("judged", "alike"):
        monkeypatch.setattr(unlearning, name, lambda *_: {})
    case = SimpleNamespace(curvature_seconds=lambda: 1000.0)
    row = unlearning.measured(None, case, [], method, BASELINES.get(method), whole=False)  # type: ignore[arg-type]
    assert (float(str(row["seconds"])) >= 1000) == curved


def test_the_curvature_that_is_timed_is_the_one_that_protects(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[object, ...]] = []
    monkeypatch.setattr(cases, "neighbour_curvature", lambda *asked: taken.append(asked))
    loaded, config = SimpleNamespace(lm="the model"), Config(seed=3)
    for examples in ((), ("a reply",)):
        kept = SimpleNamespace(examples=examples)
        assert cases._curvature_seconds(loaded, kept, config) >= 0  # type: ignore[arg-type]
    assert taken == [("the model", ("a reply",), config.neighbour_rank, 3)]


@pytest.fixture
def attacks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], list[str]]]:
    """The views that every attack was judged by, and the replies that it taught; the first fact is known after all."""
    seen: list[tuple[list[str], list[str]]] = []
    forms = (Form.CHAT, Form.PLAIN)
    training = tuple(View(0, Prompt(f"t{n}", forms[n % 2]), ("Rome",), "f", "bank") for n in range(16))
    held_out = tuple(View(0, Prompt(f"h{n}"), ("Rome",), "f", "bank") for n in range(4))

    def asked(_: object, request: DeletionRequest, seed: int) -> Knowledge:
        known = (Example((1, 2), (0,), (2,), ((2,),)),) if _question(request) == "What is 0?" else ()
        return Knowledge(training, ("",) * 16, held_out, known, "")

    def attacked(_: object, views: list[View], update: object, examples: list[str]) -> float:
        seen.append(([view.prompt.text for view in views], examples))
        return 0.5

    monkeypatch.setattr(unlearning, "asked", asked)
    monkeypatch.setattr(unlearning, "attacked", attacked)
    monkeypatch.setattr(unlearning, "which_answered", lambda _, views: [view.prompt.text == "h0" for view in views])
    return seen


def _question(request: DeletionRequest) -> str:
    (target,) = request.targets
    assert isinstance(target, PromptTarget)
    return target.prompt


def test_a_control_is_unknown_and_attacked_as_rap_attacks(
    attacks: list[tuple[list[str], list[str]]], tmp_path: Path
) -> None:
    lm = SimpleNamespace(
        example=lambda prompt, reply, answers, target: f"{prompt.text}:{reply}",
        continued=continued,
    )
    loaded = SimpleNamespace(lm=lm, card=SimpleNamespace(sketch_rank=8))
    requests = [
        DeletionRequest(model=MODEL, targets=[PromptTarget(prompt=f"What is {n}?", answer="Rome")]) for n in range(4)
    ]
    rows: list[Row] = [{"fact": n, "seed": None, "method": NOT_KNOWN} for n in range(4)]
    out = tmp_path / "rows.jsonl"
    found = unlearning.add_controls(loaded, requests, rows, 2, out)  # type: ignore[arg-type]
    controls = {row["fact"]: row["never_knew"] for row in found if row["method"] == CONTROL}
    assert controls == {0: None, 1: 0.5, 2: 0.5}  # the first was tried, and is none
    (judged, taught), _ = attacks
    assert judged == ["h1", "h2", "h3"]  # the base model answers h0
    assert len(taught) == Config().views == 8
    assert taught[:2] == ["t0:The answer is Rome", "t1: Rome"]
    more = unlearning.add_controls(loaded, requests, found, 3, out)  # type: ignore[arg-type]
    assert [row["fact"] for row in more if row["method"] == CONTROL] == [0, 1, 2, 3]  # none is tried again


def test_every_variant_changes_settings_that_there_are() -> None:
    for name, variant in ablations.VARIANTS.items():
        changed = replace(Config(), **variant.settings) != Config()  # type: ignore[arg-type]
        assert changed or variant.curvature is not ablations.neighbour_aware or name == ablations.WHOLE
    assert {ablations.WHOLE, *ablations.QUICK} <= set(ablations.VARIANTS)


def test_with_fewer_views_only_those_are_asked_for_leaks() -> None:
    views = [View(0, Prompt(f"q{n}"), ("yes",), "f", "bank") for n in range(4)]
    example = Example((1, 2), (0,), (2,), ((2,),))
    known = Knowledge(tuple(views), ("yes", "no", "yes", "yes"), (), (example,) * 3, "")
    few = ablations.fewer(known, 2)
    assert [view.prompt.text for view in few.training] == ["q0", "q2"]
    assert few.replies == ("yes", "yes")
    assert len(few.examples) == 2
