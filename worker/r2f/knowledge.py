"""What the base model knows of the targets: the views it answers, and the examples that gradients are taken on."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from worker.r2f.config import Config
from worker.r2f.examples import Example
from worker.r2f.forgetting import Forgetting
from worker.r2f.language import LanguageModel
from worker.r2f.telling import chance, marked, telling
from worker.r2f.text import Form, continued
from worker.r2f.views import View, Views

_OfTarget = TypeVar("_OfTarget", View, Example)
SAMPLES = 8  # sampled replies before a fact counts as not known
# p(whole answer) after the template at which a fact counts as known although it was never said; the first token alone
# would take a digit for a phone number
LIKELY = 0.02
CANDIDATES = 2  # views asked for each one wanted
_TEMPLATE = "The answer is {a}"


@dataclass(frozen=True)
class Knowledge:
    """The base model's replies to the views, and what follows from them."""

    training: tuple[View, ...]  # views asked, in the order of ``replies``
    replies: tuple[str, ...]
    held_out: tuple[View, ...]
    examples: tuple[Example, ...]  # empty: the fact is not known
    reason: str  # how it came to be known or not


def probe(lm: LanguageModel, views: Views, config: Config, progress: Callable[[float], None]) -> Knowledge:
    """Ask the base model, first greedily, then by sampling, then by the answer's probability."""
    training = some_of_each(views.training, CANDIDATES * config.views)
    held_out = some_of_each(views.held_out, config.held_out)
    progress(0.3)
    replies = lm.replies([view.prompt for view in training], config.reply_tokens)
    progress(0.7)
    examples: list[Example] = []
    reasons = []
    for target in sorted({view.target for view in training}):
        asked = [(view, reply) for view, reply in zip(training, replies, strict=True) if view.target == target]
        found, reason = _of_target(lm, asked, config)
        examples += found
        reasons.append(f"target {target}: {reason}")
    progress(1.0)
    return Knowledge(training, tuple(replies), held_out, tuple(examples), "; ".join(reasons))


def _of_target(lm: LanguageModel, asked: Sequence[tuple[View, str]], config: Config) -> tuple[list[Example], str]:
    told = _said(lm, asked)
    if told:
        return _telling(lm, told[: config.views], config), f"said in {len(told)} of {len(asked)} greedy replies"
    views = [view for view, _ in asked]
    samples = lm.samples([views[0].prompt] * SAMPLES, config.reply_tokens, seed=config.seed)
    slipped = _said(lm, [(views[0], reply) for reply in samples])
    if slipped:
        return _telling(lm, slipped[: config.views], config), f"said in {len(slipped)} of {SAMPLES} sampled replies"
    given = _said(lm, [(view, template(view)) for view in views])
    if given:
        likely = Forgetting.of(lm, [said.example for said in given]).whole_answer(lm)
        if float(likely.max()) >= LIKELY:
            chosen = [said for said, p in zip(given, likely.tolist(), strict=True) if p >= LIKELY / 10]
            reason = f"never said, but its probability reaches {float(likely.max()):.3f}"
            return _telling(lm, chosen[: config.views], config), reason
    return [], f"in none of {len(asked)} greedy and {SAMPLES} sampled replies, and not likely"


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
    return [marked(said.example, found.get(said.example.tokens, (0,))) for said in chosen]


def template(view: View) -> str:
    """A reply put into the model's mouth: bare for a text to be continued."""
    plain = view.prompt.form is Form.PLAIN
    return continued(view.prompt, view.answers[0]) if plain else _TEMPLATE.format(a=view.answers[0])


def some_of_each(found: Sequence[_OfTarget], most: int) -> tuple[_OfTarget, ...]:
    """At most so many views, or examples, of each target, in their order."""
    counts: Counter[int] = Counter()
    chosen = []
    for one in found:
        counts[one.target] += 1
        if counts[one.target] <= most:
            chosen.append(one)
    return tuple(chosen)
