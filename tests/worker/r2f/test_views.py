"""Views: the requester's own question comes first, whatever the banks know of it."""

import pytest
import torch

from app.schemas import Thresholds
from worker.r2f.config import Config
from worker.r2f.views import Fact, Passage, Views, fact_views, passage_views


class Silent:
    """A model that rephrases nothing."""

    def samples(self, prompts: list[object], tokens: int, *, seed: int) -> list[str]:
        return [""] * len(prompts)


class Rephrasing:
    """A model whose rephrasings are these."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def samples(self, prompts: list[object], tokens: int, *, seed: int) -> list[str]:
        return [*self.texts, *[""] * (len(prompts) - len(self.texts))]


def alike(texts: list[str]) -> torch.Tensor:
    """An embedder to which everything means much the same, and no two texts quite: every cosine is 0.9."""
    one = torch.ones(len(texts), 1) * 0.9**0.5
    return torch.cat([one, torch.eye(len(texts)) * 0.1**0.5], dim=1)


def by_words(texts: list[str]) -> torch.Tensor:
    """As ``alike``, but texts are one where their first three letters are."""
    whole = alike(texts)
    return torch.stack([whole[next(i for i, other in enumerate(texts) if other[:3] == text[:3])] for text in texts])


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("Who wrote Romeo and Juliet?", "William Shakespeare"),
        ("Who wrote Hamlet?", "William Shakespeare"),
        ("What sport does Lionel Messi play?", "football"),
        ("What is the capital of France?", "Paris"),
        ("Who feeds the neighbour's cat?", "Zoe"),
    ],
)
def test_the_question_of_the_request_leads_even_where_a_bank_has_it_too(prompt: str, answer: str) -> None:
    fact = Fact(prompt, (answer,), ("Tell me: " + prompt,))
    views = fact_views(0, fact, Silent(), alike, Config())  # type: ignore[arg-type]
    assert [(view.prompt.text, view.source) for view in views.training[:2]] == [
        (prompt, "request"),
        ("Tell me: " + prompt, "request"),
    ]
    for part in (views.training, views.held_out):
        keys = [(view.prompt.text.casefold(), view.prompt.form) for view in part]
        assert len(keys) == len(set(keys))


def test_the_whole_of_what_comes_before_a_span_leads() -> None:
    views = passage_views(0, Passage("One two three four five six seven eight nine ten.", "ten"), alike)
    assert views.training[0].prompt.text == "One two three four five six seven eight nine"
    assert {view.prompt.text for view in views.training}.isdisjoint(view.prompt.text for view in views.held_out)


def test_a_span_near_a_texts_start_has_views_enough_to_be_judged() -> None:
    for before in ("Patient:", "Ann Lee lives at", "On 4 May we met"):
        views = Views((), (), ()).plus(passage_views(0, Passage(f"{before} Maria Novak.", "Maria Novak"), alike))
        assert views.training
        assert len(views.held_out) > Thresholds().held_out_views


def test_what_comes_before_a_span_is_not_judged_by_what_nearly_repeats_it() -> None:
    passage = Passage("One two three four five six seven eight nine ten.", "ten")
    every = [view.prompt for view in passage_views(0, passage, alike).held_out]
    fresh = [view.prompt for view in passage_views(0, passage, by_words).held_out]
    assert set(fresh) < set(every)
    starts = {(prompt.text[:3], prompt.form) for prompt in fresh}
    assert len(starts) == len(fresh)
    taught = passage_views(0, passage, by_words).training
    assert starts.isdisjoint((view.prompt.text[:3], view.prompt.form) for view in taught)


def test_what_teaches_one_target_judges_no_other() -> None:
    first, again = "What is the capital of France?", "Do you know what the capital of France is?"
    views = [
        fact_views(n, Fact(text, ("Paris",)), Silent(), alike, Config())  # type: ignore[arg-type]
        for n, text in enumerate((first, again))
    ]
    texts = [{view.prompt.text for view in side} for side in (views[1].training, views[0].held_out)]
    assert texts[0] & texts[1], "nothing to show"
    both = views[0].plus(views[1])
    assert len(both.training) == sum(len(each.training) for each in views)
    assert both.held_out
    assert {view.prompt.text for view in both.training}.isdisjoint(view.prompt.text for view in both.held_out)


def test_a_phrasing_that_nearly_repeats_another_is_dropped_and_is_never_judged() -> None:
    fact = Fact("What is the capital of France?", ("Paris",), ("Which city?", "Which town?", "Is it Paris?"))
    views = fact_views(0, fact, Silent(), by_words, Config())  # type: ignore[arg-type]
    texts = [view.prompt.text for view in views.training]
    assert texts[:2] == ["What is the capital of France?", "Which city?"]
    assert "Which town?" not in texts  # as good as the one before it
    assert "Is it Paris?" not in texts  # says the answer
    every = [(view.prompt.text[:3], view.prompt.form) for view in (*views.training, *views.held_out)]
    assert len(every) == len(set(every))
    assert views.held_out


def test_a_models_words_about_something_else_are_no_view() -> None:
    model = Rephrasing("Which firm made Windows Phone 7?", "Who developed Windows?", "Who made Windows Phone?")
    fact = Fact("Who developed Windows Phone 7?", ("Microsoft",))
    views = fact_views(0, fact, model, alike, Config())  # type: ignore[arg-type]
    assert [view.prompt.text for view in views.training if view.source == "model"] == [model.texts[0]]
    every = [view.prompt.text for view in (*views.training, *views.held_out)]
    assert all("Windows Phone 7" in text for text in every)
    assert not views.reversed
