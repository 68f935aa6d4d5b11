"""A target that names somebody becomes what the model says of them, and the report tells what was found."""

from app.report import VerdictKind
from app.schemas import DeletionRequest, PassageTarget, PromptTarget
from tests.conftest import report_of
from worker.asking import Asked, ask, facts
from worker.r2f.about import Claim, Claims
from worker.r2f.views import Fact


def claim(answer: str, kind: str = "job") -> Claim:
    return Claim(
        kind, f"What is Jane Doe's {kind}?", (f"Tell me the {kind}.",), answer, f"It is {answer}.", 0.9, 0.8, 0.1
    )


def asked(claims: Claims) -> Asked:
    wanted = [{"about": "Jane Doe"}, {"prompt": "What is the capital of France?", "answer": "Paris"}]
    request = DeletionRequest.model_validate({"model": "m", "targets": wanted})
    return ask(request.targets, lambda name: claims if name == "Jane Doe" else Claims((), ()))


def test_what_was_found_stands_in_the_place_of_the_name() -> None:
    found = asked(Claims((claim("baker"), claim("Leeds", "town")), (claim("English", "language"),)))
    assert [target.answer for target in found.targets if isinstance(target, PromptTarget)] == [
        "baker",
        "Leeds",
        "Paris",
    ]
    assert found.targets[0] == PromptTarget(
        prompt="What is Jane Doe's job?", answer="baker", paraphrases=["Tell me the job."]
    )


def test_every_span_of_a_passage_is_a_target() -> None:
    passage = PassageTarget(text="Ann Lee, born in Leeds, is a baker.", spans=["Leeds", "baker", "Leeds"])
    found = ask([passage], lambda name: Claims((), ()))
    assert found.targets == tuple(PassageTarget(text=passage.text, spans=[span]) for span in ("Leeds", "baker"))


def test_neighbours_are_looked_for_around_a_passage_once() -> None:
    passage = PassageTarget(text="Ann Lee, born in Leeds, is a baker.", spans=["Leeds", "baker"])
    fact = PromptTarget(prompt="What is the capital of France?", answer="Paris", aliases=["Lutetia"])
    targets = ask([passage, fact], lambda name: Claims((), ())).targets
    assert facts(targets) == [Fact(passage.text, ("Leeds", "baker")), Fact(fact.prompt, ("Paris", "Lutetia"))]


def test_the_evidence_numbers_what_was_found_and_lists_what_was_too_unsure() -> None:
    report = asked(Claims((claim("baker"),), (claim("English"),))).told_in(report_of(VerdictKind.PASSED))
    assert report.evidence is not None
    assert [(c.place, c.target, c.answer) for c in report.evidence.claims] == [(0, 0, "baker"), (0, None, "English")]
    assert report.evidence.not_known is None


def test_a_person_of_whom_nothing_is_known_leaves_no_target_and_a_reason() -> None:
    found = asked(Claims((), (claim("English"),)))
    assert len(found.targets) == 1
    evidence = found.told_in(report_of(VerdictKind.NOT_KNOWN)).evidence
    assert evidence is not None
    assert evidence.not_known is not None
    assert evidence.not_known.startswith("targets/0: nothing is said")


def test_figures_and_requests_without_names_stay_as_they_are() -> None:
    request = DeletionRequest.model_validate({"model": "m", "targets": [{"prompt": "Who?", "answer": "Jane Doe"}]})
    found = ask(request.targets, lambda name: Claims((claim(name),), ()))
    report = report_of(VerdictKind.PASSED)
    assert found.targets == tuple(request.targets)
    assert found.told_in(report) is report
    assert asked(Claims((claim("baker"),), ())).told_in(report).figures == report.figures
