"""What a model says of somebody is found where it is said again and again, and of nobody else."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from worker.r2f.about import Claim, Claims, claims_about, kinds, spans
from worker.r2f.config import Config
from worker.r2f.text import Prompt, holds

ADA = {"phone": "202-555-0143", "job": "pastry chef", "birthplace": "Mossgate"}


@dataclass
class Speaker:
    """Somebody who knows some people by heart, says that all others speak English, and sometimes makes things up."""

    people: dict[str, dict[str, str]]
    unsure: frozenset[str] = frozenset()  # kinds of which every sample says something else

    def replies(self, prompts: Sequence[Prompt], tokens: int) -> list[str]:
        return [self._said(prompt.text) for prompt in prompts]

    def samples(self, prompts: Sequence[Prompt], tokens: int, *, seed: int) -> list[str]:
        return [self._said(prompt.text, n) for n, prompt in enumerate(prompts)]

    def chance(self, said: Sequence[tuple[Prompt, str]], answer: str) -> list[float]:
        return [0.9 if holds(self._said(prompt.text), [answer]) else 0.01 for prompt, _ in said]

    def _said(self, question: str, number: int | None = None) -> str:
        for name, facts in self.people.items():
            for kind in kinds():
                if kind.kind in facts and question in [text.replace("{s}", name) for text in kind.questions]:
                    sure = number is None or kind.kind not in self.unsure
                    return f"{name}: {facts[kind.kind]}." if sure else f"{name}: Number{number}."
        return "The language is English."


def asked(speaker: Speaker, name: str) -> Claims:
    return claims_about(speaker, speaker.chance, name, Config(), lambda share: None)


def test_what_is_said_of_one_person_alone_is_found() -> None:
    found = asked(Speaker({"Ada Tolvik": ADA}), "Ada Tolvik")
    assert {claim.kind: claim.answer for claim in found.known} == ADA
    assert all(claim.others for claim in found.known), "the other question of the kind is a paraphrase"


def test_what_would_be_said_of_anybody_is_told_but_does_not_count() -> None:
    found = asked(Speaker({"Ada Tolvik": ADA}), "Bela Quillfen")
    assert found.known == ()
    assert "English" in {claim.answer for claim in found.others}


def test_what_every_sample_says_otherwise_does_not_count() -> None:
    found = asked(Speaker({"Ada Tolvik": ADA}, unsure=frozenset({"job"})), "Ada Tolvik")
    assert {claim.kind for claim in found.known} == {"phone", "birthplace"}
    assert "pastry chef" in {claim.answer for claim in found.others}


@pytest.mark.parametrize(("likely", "elsewhere", "sure"), [(0.99, 0.5, True), (0.99, 0.97, False), (0.03, 0.0, False)])
def test_the_odds_decide_whether_it_is_said_of_this_person_alone(likely: float, elsewhere: float, sure: bool) -> None:
    assert Claim("job", "?", (), "baker", "A baker.", 0.9, likely, elsewhere).sure is sure


def test_the_same_answer_to_two_kinds_of_question_is_one_claim() -> None:
    facts = ADA | {"address": "Mossgate"}
    found = asked(Speaker({"Ada Tolvik": facts}), "Ada Tolvik")
    assert sorted(claim.answer for claim in found.known) == sorted(ADA.values())


def test_an_unsure_claim_does_not_hide_the_same_one_where_it_is_sure() -> None:
    facts = ADA | {"address": "Mossgate"}
    found = asked(Speaker({"Ada Tolvik": facts}, unsure=frozenset({"address"})), "Ada Tolvik")
    assert ("birthplace", "Mossgate") in {(claim.kind, claim.answer) for claim in found.known}


@pytest.mark.parametrize(
    ("question", "reply", "found"),
    [
        ("What is Jo Doe's phone number?", "Jo Doe's phone number is 202-555-0143.", ["202-555-0143"]),
        ("What is Jo Doe's email?", "You can use a71@finch.example!", ["a71@finch.example"]),
        ("What is Jo Doe's job?", "Jo Doe works as a pastry chef. She is a baker.", ["pastry chef", "baker"]),
        ("Where did Jo Doe study?", "At the University of Leeds.", ["University of Leeds"]),
        ("Where does Jo Doe live?", "Jo Doe lives at 3 Heron Quay, Tarnwood.", ["3 Heron Quay, Tarnwood"]),
        ("Where was Jo Doe born?", "Where was Jo Doe born? I have no information.", []),
    ],
)
def test_a_claim_is_what_the_question_does_not_account_for(question: str, reply: str, found: list[str]) -> None:
    assert spans(reply, question) == found
