"""What a deletion protects and judges: all that the request retains, and the banks' neighbours on top."""

import pytest
import torch

from worker.r2f.config import Config
from worker.r2f.neighbours import CANDIDATES, OWN, Neighbour, may_stay, propose
from worker.r2f.text import Prompt
from worker.r2f.views import Fact

FRANCE = Fact("What is the capital of France?", ("Paris",))
CONFIG = Config(neighbours=6)


def alike(texts):
    """An embedder to which every text means the same."""
    return torch.ones(len(texts), 4) / 2


def own(*prompts):
    return [Neighbour(Prompt(prompt), ("yes",), OWN) for prompt in prompts]


def test_all_that_a_request_retains_is_protected_and_judged():
    retain = own("Is water wet?", "Is fire hot?", "Is ice cold?")
    near = propose([FRANCE], retain, alike, CONFIG)
    for side, most in ((near.curvature, CONFIG.neighbours), (near.held_out, CANDIDATES * CONFIG.neighbours)):
        assert list(side[:3]) == retain
        assert len(side) == 3 + most


def test_what_a_target_asks_is_no_neighbour_of_another():
    animals = [
        Fact(f"What is the national animal of {place}?", (animal,))
        for place, animal in (("France", "a"), ("Peru", "b"))
    ]
    near = propose(animals, [], alike, Config(neighbours=200))
    asked = {neighbour.prompt.text for neighbour in (*near.curvature, *near.held_out)}
    assert any("national animal" in prompt for prompt in asked)
    assert asked.isdisjoint(fact.prompt for fact in animals)
    worded = Fact(animals[0].prompt, ("a",), paraphrases=("What is the national animal of Peru?",))
    assert worded.paraphrases[0] in {
        n.prompt.text for n in propose(animals[:1], [], alike, Config(neighbours=200)).curvature
    }
    assert worded.paraphrases[0] not in {
        n.prompt.text for n in propose([worded], [], alike, Config(neighbours=200)).curvature
    }


def test_a_reply_that_gives_what_must_go_is_not_protected_unless_the_request_retains_it():
    bank, asked = (Neighbour(Prompt("Where is the Louvre?"), (), source) for source in ("swap", OWN))
    assert not may_stay(bank, "It is in Paris.", ["Paris"])
    assert may_stay(bank, "It is in France.", ["Paris"])
    assert may_stay(asked, "It is in Paris.", ["Paris"])


CAPITALS = [
    FRANCE,
    Fact("What is the capital of Italy?", ("Rome",)),
    Fact("What is the capital of Spain?", ("Madrid",)),
]
MAKER = Fact("Which company makes the iPhone?", ("Apple",))
PAINTER = Fact("Who painted the Mona Lisa?", ("Leonardo da Vinci",))


@pytest.mark.parametrize("facts", [[FRANCE], [MAKER], [PAINTER], CAPITALS, [*CAPITALS, MAKER, PAINTER]])
def test_a_fact_of_the_banks_is_for_one_use_only_whatever_its_wording_and_whoever_proposes_it(facts):
    for seed in range(5):
        near = propose(facts, [], alike, Config(neighbours=16, seed=seed))
        protected, judged = ({n.fact for n in side if n.source != "swap"} for side in (near.curvature, near.held_out))
        assert None not in protected | judged
        assert len(judged) > len(protected) > 3
        assert protected.isdisjoint(judged)
        asked = {neighbour.prompt.text for neighbour in near.curvature}
        assert asked.isdisjoint(neighbour.prompt.text for neighbour in near.held_out)


def test_what_the_request_retains_is_not_judged_again_in_the_banks_words():
    before = propose([FRANCE], [], alike, CONFIG).held_out
    there = next(neighbour for neighbour in before if neighbour.source == "relation")
    retained = Neighbour(Prompt(f"What is the capital of {there.fact[1].title()}?"), there.answers, OWN)
    after = propose([FRANCE], [retained], alike, CONFIG).held_out
    assert after[0] is retained
    assert there.fact not in {neighbour.fact for neighbour in after}


def test_nothing_that_must_go_is_protected_unless_the_request_retains_it_under_another_question():
    near = propose([FRANCE], own("Is Paris a city?", "Is water wet?"), alike, CONFIG)
    kept = [neighbour.prompt.text for neighbour in near.curvature if neighbour.source == OWN]
    assert kept == ["Is Paris a city?", "Is water wet?"]
    assert not any("Paris" in answer for side in (near.curvature, near.held_out) for n in side for answer in n.answers)


def test_an_unknown_subject_has_the_facts_of_the_relation_most_like_it():
    near = propose([Fact("Who developed Windows Phone 7?", ("Microsoft",))], [], alike, CONFIG)
    for side in (near.curvature, near.held_out):
        assert any(neighbour.source == "relation" for neighbour in side)
        assert not any("Microsoft" in answer for neighbour in side for answer in neighbour.answers)
