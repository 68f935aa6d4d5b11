"""What the base model knows of the targets: the views it answers, and the examples that gradients are taken on."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from worker.r2f.config import Config
from worker.r2f.examples import Example
from worker.r2f.forgetting import Forgetting
from worker.r2f.language import LanguageModel
from worker.r2f.telling import chance, marked, telling, told_by
from worker.r2f.text import Form
from worker.r2f.views import View, Views

_OfTarget = TypeVar("_OfTarget", View, Example)
SAMPLES = 8  # sampled replies before a fact counts as not known
# p(whole answer) after the template at which a fact counts as known although it was never said; the first token alone
# would take a digit for a phone number
LIKELY = 0.02
CANDIDATES = 2  # views asked for each one wanted
LEAD = 24  # tokens that a reply may take before its answer
_TEMPLATE = "The answer is {a}"


@dataclass(frozen=True)
class Knowledge:
    """The base model's replies to the views, and what follows from them."""

    training: tuple[View, ...]  # views asked, in the order of ``replies``
    replies: tuple[str, ...]
    held_out: tuple[View, ...]
    examples: tuple[Example, ...]  # empty: the fact is not known
    unknown: tuple[str, ...]  # the targets without examples: why each counts as not known


def probe(lm: LanguageModel, views: Views, config: Config, progress: Callable[[float], None]) -> Knowledge:
    """Ask the base model, first greedily, then by sampling, then by the answer's probability."""
    training = some_of_each(views.training, CANDIDATES * config.views)
    held_out = some_of_each(views.held_out, config.held_out)
    progress(0.3)
    replies = lm.replies(
        [view.prompt for view in training], rooms(lm, [view.answers for view in training], config.reply_tokens)
    )
    progress(0.7)
    examples: list[Example] = []
    unknown = []
    for target in sorted({view.target for view in training}):
        asked = [(view, reply) for view, reply in zip(training, replies, strict=True) if view.target == target]
        found = _of_target(lm, asked, config)
        examples += found
        if not found:
            unknown.append(
                f"target {target}: in none of {len(asked)} greedy and {SAMPLES} sampled replies, and not likely"
            )
    progress(1.0)
    return Knowledge(training, tuple(replies), held_out, tuple(examples), tuple(unknown))


def _of_target(lm: LanguageModel, asked: Sequence[tuple[View, str]], config: Config) -> list[Example]:
    told = _said(lm, asked)
    if told:
        return _telling(lm, told[: config.views], config)
    views = [view for view, _ in asked]
    (room,) = rooms(lm, [views[0].answers], config.reply_tokens)
    samples = lm.samples([views[0].prompt] * SAMPLES, room, seed=config.seed)
    slipped = _said(lm, [(views[0], reply) for reply in samples])
    if slipped:
        return _telling(lm, slipped[: config.views], config)
    given = _said(lm, [(view, template(lm, view)) for view in views])
    if given:
        likely = Forgetting.of(lm, [said.example for said in given]).whole_answer(lm)
        if float(likely.max()) >= LIKELY:
            chosen = [said for said, p in zip(given, likely.tolist(), strict=True) if p >= LIKELY / 10]
            return _telling(lm, chosen[: config.views], config)
    return []


@dataclass(frozen=True)
class _Said:
    """A reply that holds an answer."""

    view: View
    reply: str
    example: Example


def _said(lm: LanguageModel, pairs: Sequence[tuple[View, str]]) -> list[_Said]:
    """Those of the replies that hold an answer."""
    found = ((view, reply, lm.example(view.prompt, reply, view.answers, view.target)) for view, reply in pairs)
    return [_Said(view, reply, example) for view, reply, example in found if example]


def _telling(lm: LanguageModel, chosen: Sequence[_Said], config: Config) -> list[Example]:
    """Their examples, each with the tokens that tell its answer; asked for until one of a spelling can be told."""
    found: dict[tuple[int, ...], tuple[int, ...]] = {}
    for said in chosen:
        tokens = said.example.tokens
        if len(tokens) > 1 and tokens not in found:
            likely = chance(lm, said.example, said.view.prompt, said.reply, said.view.answers, config.seed)
            if likely is not None:
                found[tokens] = telling(likely)
    made = [said.example for said in chosen]
    told = [marked(example, found[example.tokens]) for example in made if example.tokens in found]
    return [
        marked(example, found[example.tokens]) if example.tokens in found else told_by(example, told)
        for example in made
    ]


def template(lm: LanguageModel, view: View) -> str:
    """A reply put into the model's mouth: bare for a text to be continued."""
    plain, answer = view.prompt.form is Form.PLAIN, view.answers[0]
    return lm.continued(view.prompt, answer if plain else _TEMPLATE.format(a=answer))


def rooms(lm: LanguageModel, answers: Sequence[Sequence[str]], least: int) -> list[int]:
    """New tokens of a reply to each prompt: so many at least, and enough to give the longest of the prompt's answers.

    Raises:
        PromptTooLongError: an answer does not fit the context.
    """
    lengths = {answer: len(lm.encode(answer)) for each in answers for answer in each}
    return [max(least, LEAD + max(lengths[answer] for answer in each)) for each in answers]


def some_of_each(found: Sequence[_OfTarget], most: int) -> tuple[_OfTarget, ...]:
    """At most so many views, or examples, of each target, in their order."""
    counts: Counter[int] = Counter()
    chosen = []
    for one in found:
        counts[one.target] += 1
        if counts[one.target] <= most:
            chosen.append(one)
    return tuple(chosen)
