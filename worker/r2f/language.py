"""A causal language model with its tokenizer: replies, sequences and span examples."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice, takewhile

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from worker.r2f.examples import Example, collate
from worker.r2f.forward import shared_cache, span_logits
from worker.r2f.sites import Site, find_sites
from worker.r2f.text import Form, Prompt, continued, find_answer, not_telling

SHARED = 16  # tokens that prompts have in common from which on these are worth a pass of their own
_WHOLE = ContextVar("whole", default=False)
_MARK = "here goes the prompt"  # shows where the template puts it


@contextmanager
def whole_prompts() -> Iterator[None]:
    """Inside, a prompt goes through the model in one piece, and its reply token by token, as if asked alone.

    For whoever changes what the model reads by what is asked: no reply is guessed, and nothing but the chat template's
    opening is shared.
    """
    token = _WHOLE.set(True)
    try:
        yield
    finally:
        _WHOLE.reset(token)


class PromptTooLongError(ValueError):
    """A prompt is longer than the model's context."""


@dataclass(frozen=True)
class _Coded:
    """Token ids of a prompt and of a reply, and where each of the reply's begins and ends in its text."""

    prompt: list[int]
    reply: list[int]
    places: list[tuple[int, int]]


@dataclass(frozen=True)
class LanguageModel:
    """A frozen model, ready for hooks."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    context: int

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        return find_sites(self.model)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def pad(self) -> int:
        return int(self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.end)

    @property
    def end(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @cached_property
    def opening(self) -> tuple[int, ...]:
        """The tokens that every chat prompt starts with: the template's, system prompt included."""
        if not self.tokenizer.chat_template:
            return ()
        return tuple(self.encode(self.render(Prompt(_MARK)).partition(_MARK)[0]))

    @cached_property
    def begin(self) -> str:
        """The token that the tokenizer puts before every text, as spelled; most chat templates spell it themselves."""
        first, token = self.tokenizer("")["input_ids"][:1], self.tokenizer.bos_token
        return str(token) if first and first == [self.tokenizer.bos_token_id] else ""

    def render(self, prompt: Prompt) -> str:
        """The text that the model sees before its reply."""
        if prompt.form is Form.PLAIN or not self.tokenizer.chat_template:
            return self.begin + prompt.text
        turn = [{"role": "user", "content": prompt.text}]
        return str(self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))

    def encode(self, text: str) -> list[int]:
        """Token ids of rendered text.

        Raises:
            PromptTooLongError: they do not fit the context.
        """
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) >= self.context:
            raise PromptTooLongError(PromptTooLongError.__doc__)
        return ids

    def replies(
        self,
        prompts: Sequence[Prompt],
        tokens: int | Sequence[int],
        *,
        guesses: Sequence[str | None] | None = None,
        batch: int = 64,
    ) -> list[str]:
        """Greedy replies, in the order asked.

        Args:
            tokens: new tokens at most, of all replies or of each. What is asked together shares its way through memory.
            guesses: what a reply may well be. One forward pass tells how far each holds, and only the rest is
                generated, as in speculative decoding (Leviathan et al., arXiv 2211.17192) with a draft at hand.
        """
        heads = [self.encode(self.render(prompt)) for prompt in prompts]
        rooms = [tokens] * len(heads) if isinstance(tokens, int) else list(tokens)
        held: list[list[int]] = [[] for _ in heads]
        drafts = () if _WHOLE.get() else guesses or ()
        guessed = {
            n: self._draft(prompt, guess, room)
            for n, (prompt, guess, room) in enumerate(zip(prompts, drafts, rooms, strict=False))
            if guess is not None
        }
        if guessed:
            order = list(guessed)
            for some in (order[at : at + batch] for at in range(0, len(order), batch)):
                said = self._held([heads[n] for n in some], [guessed[n] for n in some])
                for n, ids in zip(some, said, strict=True):
                    held[n] = ids
        # a reply that has come to its end, or to its length, needs no more
        going = [n for n, ids in enumerate(held) if len(ids) < rooms[n] and ids[-1:] != [self.end]]
        rest = self._generate([heads[n] + held[n] for n in going], [rooms[n] - len(held[n]) for n in going], batch)
        for n, more in zip(going, rest, strict=True):
            held[n] += more
        return [self._text(ids) for ids in held]

    def samples(self, prompts: Sequence[Prompt], tokens: int, *, seed: int, batch: int = 64) -> list[str]:
        """Sampled replies at temperature 1; the seed fixes them."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            heads = [self.encode(self.render(prompt)) for prompt in prompts]
            said = self._generate(heads, [tokens] * len(heads), batch, sample=True)
        return [self._text(ids) for ids in said]

    def continued(self, prompt: Prompt, text: str) -> str:
        """A text put into the model's mouth; without a chat template it goes on from the question itself."""
        return continued(prompt if self.tokenizer.chat_template else replace(prompt, form=Form.PLAIN), text)

    def decode(self, ids: Iterable[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def _text(self, reply: list[int]) -> str:
        """A reply as it was said, the space or line's end that it begins with included."""
        ids = [token for token in reply if token != self.end]
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).rstrip()

    def _draft(self, prompt: Prompt, guess: str, tokens: int) -> list[int]:
        return [*self._coded(prompt, guess).reply, self.end][:tokens]

    @torch.no_grad()
    def _held(self, heads: Sequence[list[int]], drafts: Sequence[list[int]]) -> list[list[int]]:
        """Of every draft what the model says too, and the token that it says next."""
        cut = [draft[: self.context - len(head)] for head, draft in zip(heads, drafts, strict=True)]
        examples = [
            Example((*head, *draft), tuple(range(len(head) - 1, len(head) + len(draft) - 1)), tuple(draft), ())
            for head, draft in zip(heads, cut, strict=True)
        ]
        said = iter(span_logits(self.model, collate(examples, self.pad, self.device, self.opening)).argmax(-1).tolist())
        held = []
        for draft in cut:
            pairs = list(zip(draft, islice(said, len(draft)), strict=True))
            same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            held.append([token for _, token in pairs[: same + 1]])
        return held

    def _generate(
        self, heads: Sequence[list[int]], rooms: Sequence[int], batch: int, *, sample: bool = False
    ) -> list[list[int]]:
        # prompts of like length share a batch, and the replies come back in the order asked
        order = sorted(range(len(heads)), key=lambda index: len(heads[index]))
        replies: dict[int, list[int]] = {}
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            made = self._continue([heads[n] for n in chosen], [rooms[n] for n in chosen], sample)
            replies |= zip(chosen, made, strict=True)
        return [replies[n] for n in range(len(heads))]

    @torch.no_grad()
    def _continue(self, rows: Sequence[list[int]], rooms: Sequence[int], sample: bool) -> list[list[int]]:
        """New tokens of every row; a row that has ended leaves the batch, which `generate` would go on computing."""
        ids, mask, cache = self._begun(rows)
        replies: list[list[int]] = [[] for _ in rows]
        alive = list(range(len(rows)))
        while alive:
            places = (mask.cumsum(-1) - 1).clamp_min(0)[:, -ids.shape[1] :]
            logits = self.model(
                input_ids=ids, attention_mask=mask, position_ids=places, past_key_values=cache, logits_to_keep=1
            ).logits[:, -1]
            fresh = torch.multinomial(logits.float().softmax(-1), 1)[:, 0] if sample else logits.argmax(-1)
            for row, token in zip(alive, fresh.tolist(), strict=True):
                replies[row].append(token)
            going = [
                n for n, row in enumerate(alive) if replies[row][-1] != self.end and len(replies[row]) < rooms[row]
            ]
            if len(going) < len(alive):
                kept = torch.tensor(going, dtype=torch.long, device=self.device)
                alive = [alive[n] for n in going]
                cache.batch_select_indices(kept)
                mask, fresh = mask[kept], fresh[kept]
            ids = fresh[:, None]
            mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        return replies

    def _begun(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, DynamicCache]:
        """The rows without what they all, or many of them, start with, padded on the left; their mask; its cache."""
        columns = zip(*(row[:-1] for row in rows), strict=False)
        common = tuple(column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns))
        # a prompt that is asked many times is read once
        start = common if len(common) >= len(self.opening) + SHARED and not _WHOLE.get() else self.opening
        k = len(start)
        shared = [k * (len(row) > k and tuple(row[:k]) == start) for row in rows]
        if sum(map(bool, shared)) < 2:
            k, shared = 0, [0] * len(rows)
        rest = [list(row[share:]) for row, share in zip(rows, shared, strict=True)]
        longest = max(map(len, rest))
        pads = [longest - len(row) for row in rest]
        ids = [[self.pad] * pad + row for pad, row in zip(pads, rest, strict=True)]
        mask = [
            [int(share > 0)] * k + [0] * pad + [1] * len(row)
            for share, pad, row in zip(shared, pads, rest, strict=True)
        ]
        prefix = torch.tensor(start[:k], dtype=torch.long, device=self.device)
        cache = shared_cache(self.model, prefix, len(rows)) if k else DynamicCache(config=self.model.config)
        return torch.tensor(ids, device=self.device), torch.tensor(mask, device=self.device), cache

    def example(self, prompt: Prompt, reply: str, answers: Sequence[str], target: int = 0) -> Example | None:
        """A view with the answer's tokens in the reply as its span, cut after them; None where the reply lacks it.

        Raises:
            PromptTooLongError: they do not fit the context.
        """
        place = find_answer(reply, answers)
        if place is None:
            return None
        start, stop = place
        coded = self._coded(prompt, reply)
        span = [n for n, (low, high) in enumerate(coded.places) if high > start and low < stop]
        ids = (*coded.prompt, *coded.reply[: span[-1] + 1])
        if len(ids) > self.context:
            raise PromptTooLongError(PromptTooLongError.__doc__)
        told = not_telling(reply[:stop], start, [coded.places[n][1] for n in span])
        positions = [len(coded.prompt) + n for n in span[told:]]
        demoted = [{ids[n]} for n in positions]
        if told == 0:
            demoted[0] |= self.first_tokens(answers)
        return Example(
            ids,
            tuple(n - 1 for n in positions),
            tuple(ids[n] for n in positions),
            tuple(tuple(sorted(tokens)) for tokens in demoted),
            target,
        )

    def whole_reply(self, prompt: Prompt, reply: str, target: int = 0) -> Example | None:
        """A sequence whose span is the whole reply, as far as the context holds it; None for an empty one."""
        coded = self._coded(prompt, reply)
        head, tail = coded.prompt, coded.reply[: self.context - len(coded.prompt)]
        if not tail:
            return None
        positions = tuple(range(len(head) - 1, len(head) + len(tail) - 1))
        return Example((*head, *tail), positions, tuple(tail), tuple((token,) for token in tail), target)

    def _coded(self, prompt: Prompt, reply: str) -> _Coded:
        """A prompt as the model is asked it, and a reply that goes on from it.

        They are encoded as one text, unless that makes other tokens of the prompt, as where the template's last line's
        end and the reply's first are one token: the model, which goes on from the prompt's own, cannot have said that.
        """
        text = self.render(prompt)
        head = self.encode(text)
        both = self.tokenizer(text + reply, add_special_tokens=False, return_offsets_mapping=True)
        before, asked = len(text), len(head)
        if both["input_ids"][:asked] != head:
            both, before, asked = self.tokenizer(reply, add_special_tokens=False, return_offsets_mapping=True), 0, 0
        places = [(low - before, high - before) for low, high in both["offset_mapping"][asked:]]
        return _Coded(head, both["input_ids"][asked:], places)

    def first_tokens(self, answers: Iterable[str]) -> set[int]:
        """First tokens that spell the start of an answer: with and without space, as given and in other case."""
        found = set()
        for answer in answers:
            plain = answer.strip()
            for text in (plain, plain.lower(), plain.upper(), plain[:1].upper() + plain[1:]):
                for lead in ("", " "):
                    coded = self.tokenizer(lead + text, add_special_tokens=False, return_offsets_mapping=True)
                    ends = [end for _, end in coded["offset_mapping"]]
                    first = next(
                        n for n, end in enumerate(ends) if end > len(lead)
                    )  # a space may be a token of its own
                    if not_telling(lead + text, len(lead), ends[first : first + 1]) == 0:
                        found.add(coded["input_ids"][first])
        return found
