"""Which tokens of an answer tell it: those that a model would not say of anybody.

A phone number's first digit is likely whoever is asked about, and so is the "555" in it. Taking such a token away takes
it from everybody else's number, and shows that something was removed. So the answer is asked for with other names in
the subject's place: what is sure there is form, what is likely there is a start that does not tell yet.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from random import Random

import torch
from torch import Tensor

from worker.r2f.banks import find_subject, names
from worker.r2f.banks.catalogue import bare
from worker.r2f.examples import Example, collate
from worker.r2f.forward import span_logits
from worker.r2f.language import LanguageModel, PromptTooLongError
from worker.r2f.text import Prompt

OTHERS = 3  # names in the subject's place
COMMON = 0.02  # the chance of a first token from which it does not tell the answer by itself
SURE = 0.5  # the chance from which a token is form, and tells nothing
HANGS = 0.25  # of the answer's own probability that its chance may be at most


def chance(
    lm: LanguageModel, example: Example, prompt: Prompt, reply: str, answers: Sequence[str], seed: int
) -> Tensor | None:
    """The mean probability of every token of an example's span (T,) where it is about somebody else.

    All of it is sure (1) where the answer hardly hangs on the name: the model says it of anybody, or it is not this
    name's. None where nobody can be told from the prompt, or no other name fits and leaves the answer spelled as it is.
    """
    subject = find_subject(prompt.text)
    if subject is None:
        return None
    others = [name for name in names(subject.kind) or names("person") if bare(name) != bare(subject.name)]
    named = re.compile(rf"(?<!\w){re.escape(subject.name)}(?!\w)", re.IGNORECASE)
    told: list[Example] = []
    for name in Random(seed).sample(others, min(OTHERS, len(others))):
        text, said = (name.join(named.split(part)) for part in (prompt.text, reply))
        with suppress(PromptTooLongError):  # a longer name than the context has room for
            other = lm.example(Prompt(text, prompt.form), said, answers)
            if other and other.tokens == example.tokens:
                told.append(other)
    if not told:
        return None
    batch = collate([example, *told], lm.pad, lm.device, lm.opening)
    with torch.no_grad():
        logs = torch.log_softmax(span_logits(lm.model, batch), dim=-1)
    own, *swapped = logs.gather(-1, batch.tokens[:, None]).exp().reshape(len(told) + 1, -1)
    chances = torch.stack(swapped).mean(0)
    return chances if float(chances.prod()) <= HANGS * float(own.prod()) else torch.ones_like(chances)


def telling(chances: Tensor) -> tuple[int, ...]:
    """The tokens whose probabilities together are that of the answer, by their chance (T,): mostly the first alone.

    Where nothing but a common start is left ("7" of "76218 Walter Village"), what follows is sure because it was learnt
    with that start, and tells the answer with it; so do all tokens where all are sure.
    """
    if float(chances[0]) <= COMMON:
        return (0,)
    told = tuple((chances <= SURE).nonzero().flatten().tolist())
    return told if set(told) - {0} else tuple(range(len(chances)))


def marked(example: Example, told: tuple[int, ...]) -> Example:
    """The example with its telling tokens.

    Where the first alone does not tell, nothing else that may start the answer does: nothing else is demoted there.
    """
    if told == (0,):
        return replace(example, telling=told)
    first = example.tokens[:1] if 0 in told else ()
    return replace(example, telling=told, demoted=(first, *example.demoted[1:]))


def told_by(example: Example, like: Sequence[Example]) -> Example:
    """An example with the telling tokens of another of its target that spells the answer so, but for its first token.

    A spelling that none has is told by all its tokens together where others take several, else by its first.
    """
    same = [other for other in like if other.target == example.target]
    for other in same:
        if len(other.tokens) == len(example.tokens) and other.tokens[1:] == example.tokens[1:]:
            return marked(example, other.telling)
    joint = any(other.telling != (0,) for other in same)
    return marked(example, tuple(range(len(example.tokens))) if joint else (0,))
