"""A causal language model with its tokenizer: replies, sequences and span examples."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from worker.r2f.examples import Example
from worker.r2f.sites import Site, find_sites
from worker.r2f.text import Form, Prompt, find_answer


class PromptTooLongError(ValueError):
    """A prompt is longer than the model's context."""


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

    def render(self, prompt: Prompt) -> str:
        """The text that the model sees before its reply."""
        if prompt.form is Form.PLAIN or not self.tokenizer.chat_template:
            return prompt.text
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

    def replies(self, prompts: Sequence[Prompt], tokens: int, *, batch: int = 32) -> list[str]:
        """Greedy replies of at most ``tokens`` new tokens, in the order asked."""
        return [text for ids in self._generate(prompts, tokens, batch) for text in [self.decode(ids)]]

    def samples(self, prompts: Sequence[Prompt], tokens: int, *, seed: int, batch: int = 32) -> list[str]:
        """Sampled replies at temperature 1; the seed fixes them."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            return [self.decode(ids) for ids in self._generate(prompts, tokens, batch, sample=True)]

    def decode(self, ids: Iterable[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def _generate(
        self, prompts: Sequence[Prompt], tokens: int, batch: int, *, sample: bool = False
    ) -> Iterator[list[int]]:
        encoded = [self.encode(self.render(prompt)) for prompt in prompts]
        # prompts of like length share a batch, and the replies come back in the order asked
        order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
        replies: dict[int, list[int]] = {}
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            replies |= zip(chosen, self._continue([encoded[index] for index in chosen], tokens, sample), strict=True)
        for index in range(len(encoded)):
            yield replies[index]

    @torch.no_grad()
    def _continue(self, rows: Sequence[Sequence[int]], tokens: int, sample: bool) -> list[list[int]]:
        """New tokens of every row; a row that has ended leaves the batch, which `generate` would go on computing."""
        ids, mask = self._left_padded(rows)
        cache = DynamicCache(config=self.model.config)
        replies: list[list[int]] = [[] for _ in rows]
        alive = list(range(len(rows)))
        for _ in range(tokens):
            places = (mask.cumsum(-1) - 1).clamp_min(0)[:, -ids.shape[1] :]
            logits = self.model(
                input_ids=ids, attention_mask=mask, position_ids=places, past_key_values=cache, logits_to_keep=1
            ).logits[:, -1]
            fresh = torch.multinomial(logits.float().softmax(-1), 1)[:, 0] if sample else logits.argmax(-1)
            going = fresh != self.end
            for row, token in zip(alive, fresh.tolist(), strict=True):
                if token != self.end:
                    replies[row].append(token)
            if not going.all():
                kept = going.nonzero()[:, 0]
                alive = [alive[n] for n in kept.tolist()]
                if not alive:
                    break
                cache.batch_select_indices(kept)
                mask, fresh = mask[kept], fresh[kept]
            ids = fresh[:, None]
            mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        return replies

    def _left_padded(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        longest = max(map(len, rows))
        ids = torch.tensor([[self.pad] * (longest - len(row)) + list(row) for row in rows], device=self.device)
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=self.device)
        return ids, mask

    def example(self, prompt: Prompt, reply: str, answers: Sequence[str], target: int = 0) -> Example | None:
        """A view with the answer's tokens in the reply as its span, cut after them; None where the reply lacks it."""
        place = find_answer(reply, answers)
        if place is None:
            return None
        head = self.render(prompt)
        gap = " " if prompt.form is Form.PLAIN and not head[-1:].isspace() else ""
        text = head + gap + reply
        start, stop = (len(head) + len(gap) + offset for offset in place)
        coded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        span = [n for n, (low, high) in enumerate(coded["offset_mapping"]) if high > start and low < stop]
        ids = coded["input_ids"][: span[-1] + 1]
        if len(ids) > self.context:
            raise PromptTooLongError(PromptTooLongError.__doc__)
        demoted = [self.first_tokens(answers) | {ids[span[0]]}] + [{ids[n]} for n in span[1:]]
        return Example(
            tuple(ids),
            tuple(n - 1 for n in span),
            tuple(ids[n] for n in span),
            tuple(tuple(sorted(tokens)) for tokens in demoted),
            target,
        )

    def whole_reply(self, prompt: Prompt, reply: str) -> Example | None:
        """A sequence whose span is the whole reply; None for an empty one."""
        head = self.encode(self.render(prompt))
        gap = " " if prompt.form is Form.PLAIN else ""
        tail = self.encode(gap + reply)[: self.context - len(head)]
        if not tail:
            return None
        positions = tuple(range(len(head) - 1, len(head) + len(tail) - 1))
        return Example((*head, *tail), positions, tuple(tail), tuple((token,) for token in tail))

    def first_tokens(self, answers: Iterable[str]) -> set[int]:
        """First tokens that spell the start of an answer: with and without space, as given and in other case."""
        found = set()
        for answer in answers:
            for text in (answer, answer.lower(), answer.upper(), answer[:1].upper() + answer[1:]):
                for lead in ("", " "):
                    ids = self.tokenizer(lead + text, add_special_tokens=False)["input_ids"]
                    spelt = self.decode(ids[:1])
                    # a single letter starts half of all words: only longer pieces spell the answer
                    if len(spelt) > 1 or len(text.strip()) == 1:
                        found.add(ids[0])
        return found
