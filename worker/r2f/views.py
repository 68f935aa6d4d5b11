"""Views: many phrasings of what must be forgotten, in families that training and judging never share (paper §2.4)."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from worker.r2f.banks import Group, Relation, names_missing, relation_of, wrappers
from worker.r2f.banks.rephrase import rephrase
from worker.r2f.config import Config
from worker.r2f.embedding import Embedder
from worker.r2f.language import LanguageModel
from worker.r2f.text import Form, Prompt, holds, normalised

SIMILAR = 0.55  # cosine below which a view asks something else; wrappers around a short question lower it to about 0.6
OWN_SIMILAR = 0.85  # the same of a model's words, which nobody has checked
SAME = 0.99  # cosine from which two views put in the same form are one: "What is" and "What's"
PROPOSALS = 8  # rephrasings that the target model is asked for
OWN_WORDS = 3  # rephrasings of one model that are used, so that they do not crowd out the banks' forms
# Shown how, a small model rephrases where it only repeats when told to.
_ASK = """Rewrite each question in other words, keeping its meaning.

Question: Who invented the telephone?
Rewritten: Who was the inventor of the telephone?

Question: In which year did the Second World War end?
Rewritten: When was the end of the Second World War?

Question: What is the largest ocean on Earth?
Rewritten: Which of the Earth's oceans is the biggest?

Question: {}
Rewritten:"""


@dataclass(frozen=True)
class Fact:
    """A prompt and the answers to forget: the answer itself, then its aliases."""

    prompt: str
    answers: tuple[str, ...]
    paraphrases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Passage:
    """A memorised text and the span in it to forget."""

    text: str
    span: str


@dataclass(frozen=True)
class View:
    """One phrasing of one target."""

    target: int
    prompt: Prompt
    answers: tuple[str, ...]
    family: str  # the rule or pattern group that made it
    source: str  # request, bank, model or paraphraser


@dataclass(frozen=True)
class Views:
    """What the gradients may see, and what only the report sees."""

    training: tuple[View, ...]
    held_out: tuple[View, ...]
    reversed: tuple[View, ...]

    def plus(self, other: "Views") -> "Views":
        """Both; what teaches one target judges none, as where a fact is named twice in other words."""
        training = self.training + other.training
        taught = {normalised(view.prompt.text) for view in training}
        held_out = (view for view in self.held_out + other.held_out if normalised(view.prompt.text) not in taught)
        return Views(training, tuple(held_out), self.reversed + other.reversed)


def fact_views(
    target: int,
    fact: Fact,
    lm: LanguageModel,
    embedder: Embedder,
    config: Config,
    paraphrase: Callable[[str], list[str]] | None = None,
) -> Views:
    """Views of a prompt and its answer, filtered, most specific first."""
    relation, subject = relation_of(fact.prompt, fact.answers[0]) or (None, None)
    forms = rephrase(fact.prompt)

    def view(prompt: Prompt, family: str, source: str) -> View:
        return View(target, prompt, fact.answers, family, source)

    further = (text for text in fact.paraphrases if not holds(text, fact.answers))
    own = [view(Prompt(text), "request", "request") for text in (fact.prompt, *further)]
    asked = [view(Prompt(text), "model", "model") for text in _ask_model(fact.prompt, lm, config)]
    asked += (
        [view(Prompt(text), "paraphraser", "paraphraser") for text in paraphrase(fact.prompt)] if paraphrase else []
    )

    def bank(group: Group) -> list[View]:
        patterns = list(_filled(relation, subject, group)) if relation and subject else []
        rules = [(_put(form.text, form.form), form.rule) for form in forms if form.family == group]
        wrapped = [(Prompt(text.format(p=fact.prompt)), "wrapper") for text in getattr(wrappers(), group)]
        return [view(prompt, f"{group}:{rule}", "bank") for prompt, rule in _interleaved(patterns, rules, wrapped)]

    told = _few_of_each(_apart(_distinct([*own, *_similar(fact.prompt, asked, embedder)]), (), embedder))
    training = _apart(_distinct([*told, *_similar(fact.prompt, bank("train"), embedder)]), (), embedder)
    seen = {normalised(v.prompt.text) for v in training}
    new = [v for v in _similar(fact.prompt, bank("judge"), embedder) if normalised(v.prompt.text) not in seen]
    held_out = _apart(_distinct(new), training, embedder)
    backward = (
        [
            View(target, Prompt(text.format(a=fact.answers[0])), (subject,), "reversed", "bank")
            for text in relation.reversed
        ]
        if relation and subject
        else []
    )
    return Views(training, held_out, tuple(backward))


def passage_views(target: int, passage: Passage, embedder: Embedder) -> Views:
    """Views of a memorised passage: what comes before the span, from several starts, bare or in a request to go on."""
    before = passage.text[: passage.text.index(passage.span)].rstrip()
    training: list[View] = []
    held_out: list[View] = []

    def view(prompt: Prompt, family: str) -> View:
        return View(target, prompt, (passage.span,), family, "bank")

    for n, start in enumerate(_starts(before)):
        bare, ask = Prompt(before[start:], Form.PLAIN), before[start:]
        if n % 2 == 0:
            training.append(view(bare, "train:prefix"))
            training += [view(Prompt(text.format(t=ask)), "train:continue") for text in _CONTINUE_TRAIN]
        else:
            held_out.append(view(bare, "judge:prefix"))
            held_out += [view(Prompt(text.format(t=ask)), "judge:continue") for text in _CONTINUE_JUDGE]
    held_out += [view(Prompt(text.format(t=before), Form.PLAIN), "judge:quoted") for text in _QUOTED_JUDGE]
    taught = _distinct(training)
    return Views(taught, _apart(_distinct(held_out), taught, embedder), ())


_CONTINUE_TRAIN = ("Continue this text: {t}", "Complete the passage: {t}")
_CONTINUE_JUDGE = ('How does this text go on? "{t}', 'I remember only the beginning: "{t} ..." What comes next?')
_QUOTED_JUDGE = (
    'As the famous passage says, "{t}',
    "The text reads:\n\n{t}",
    "Found in an old file:\n{t}",
    "Somebody wrote this down word for word: {t}",
)


def _starts(before: str) -> list[int]:
    """Places at which a shortened prefix may start: the whole, then later words, as long as five words are left."""
    words = [match.start() for match in re.finditer(r"\S+", before)]
    if not words:
        return [0]
    steps = sorted({int(len(words) * share) for share in (0, 0.2, 0.35, 0.5)})
    return [words[n] for n in steps if n == 0 or len(words) - n >= 5]


def _filled(relation: Relation, subject: str, group: Group) -> Iterator[tuple[Prompt, str]]:
    for pattern in relation.patterns(group):
        yield _put(pattern.filled(subject), pattern.form), pattern.form


def _put(text: str, form: str) -> Prompt:
    """A completion is a text to be continued, everything else a chat turn."""
    return Prompt(text, Form.PLAIN if form == "completion" else Form.CHAT)


def _interleaved(*lists: Sequence[tuple[Prompt, str]]) -> Iterator[tuple[Prompt, str]]:
    """One of each list in turn, so that a cut keeps every kind."""
    for row in zip_longest(*lists):
        yield from (item for item in row if item is not None)


def _ask_model(prompt: str, lm: LanguageModel, config: Config) -> list[str]:
    """Rephrasings by the target model itself, sampled."""
    replies = lm.samples([Prompt(_ASK.format(prompt), Form.PLAIN)] * PROPOSALS, 32, seed=config.seed)
    lines = (reply.strip().splitlines()[0].strip(' "') for reply in replies if reply.strip())
    return [line for line in dict.fromkeys(lines) if line.endswith("?") and len(line) <= 2 * len(prompt) + 40]


def _similar(prompt: str, views: Sequence[View], embedder: Embedder) -> list[View]:
    """Drop views that hold the answer or ask something else, about "Windows" where it was "Windows Phone" for one."""
    clean = [
        v
        for v in views
        if not holds(v.prompt.text, v.answers)
        and not (v.source in ("model", "paraphraser") and names_missing(prompt, v.prompt.text))
    ]
    if not clean:
        return []
    vectors = embedder([prompt, *(v.prompt.text for v in clean)])
    least = [SIMILAR if v.source == "bank" else OWN_SIMILAR for v in clean]
    cosines = (vectors[1:] @ vectors[0]).tolist()
    return [v for v, cosine, bound in zip(clean, cosines, least, strict=True) if cosine >= bound]


def _few_of_each(views: Sequence[View]) -> list[View]:
    """The requester's, and the first few that each model has made."""
    made: Counter[str] = Counter()
    kept = []
    for view in views:
        made[view.source] += 1
        if view.source == "request" or made[view.source] <= OWN_WORDS:
            kept.append(view)
    return kept


def _apart(views: Sequence[View], taken: Sequence[View], embedder: Embedder) -> tuple[View, ...]:
    """Drop views that nearly repeat one before them, or one that is taken: they would be judged by what they taught."""
    every = [*taken, *views]
    if not views:
        return ()
    vectors = embedder([view.prompt.text for view in every])
    alike = (vectors @ vectors.T >= SAME).tolist()
    kept = list(range(len(taken)))
    for n in range(len(taken), len(every)):
        if not any(alike[n][m] and every[n].prompt.form == every[m].prompt.form for m in kept):
            kept.append(n)
    return tuple(every[n] for n in kept[len(taken) :])


def _distinct(views: Iterable[View]) -> tuple[View, ...]:
    """Every prompt once, where it came first: the requester's own lead."""
    found: dict[tuple[str, Form], View] = {}
    for view in views:
        found.setdefault((normalised(view.prompt.text), view.prompt.form), view)
    return tuple(found.values())
