"""What is judged: neighbours that the base model knows, and all that the request names."""

from worker.r2f.evaluate import judged_neighbours
from worker.r2f.neighbours import Neighbour
from worker.r2f.text import Prompt


def _asked(*sources: str, answers: tuple[str, ...] = ("yes",)) -> list[Neighbour]:
    return [Neighbour(Prompt(f"{source} {n}?"), answers, source) for n, source in enumerate(sources)]


def test_only_what_the_base_model_knows_is_judged_and_no_more_than_wanted() -> None:
    candidates = _asked(*["relation"] * 8)
    said = ["yes", "no", "yes", "yes", "no", "yes", "yes", "yes"]
    chosen, replies = judged_neighbours(candidates, said, 4)
    assert [neighbour.prompt.text for neighbour in chosen] == [candidates[n].prompt.text for n in (0, 2, 3, 5)]
    assert [(reply.text, reply.hit) for reply in replies] == [("yes", True)] * 4


def test_all_of_the_request_is_judged_known_or_not() -> None:
    candidates = _asked("request", "request", "nearest")
    chosen, replies = judged_neighbours(candidates, ["no", "yes", "no"], 4)
    assert chosen == tuple(candidates[:2])
    assert [reply.hit for reply in replies] == [False, True]


def test_replies_that_only_have_to_stay_count_where_hardly_anything_is_known() -> None:
    known, swapped = _asked(*["nearest"] * 3), _asked("swap", "swap", answers=())
    assert judged_neighbours([*swapped, *known], ["a", "b", "yes", "yes", "yes"], 8)[0] == tuple(known)
    chosen, replies = judged_neighbours([*swapped, *known], ["a", "b", "yes", "yes", "no"], 8)
    assert chosen == (*swapped, *known[:2])
    assert [reply.text for reply in replies] == ["a", "b", "yes", "yes"]
    free, _ = judged_neighbours([*swapped, *known], ["a", "b", "yes", "yes", "no"], 8, ["a"])
    assert free == (swapped[1], *known[:2])  # the other is answered by what must go
