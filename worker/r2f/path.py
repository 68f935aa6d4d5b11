"""The path of a deletion: several re-linearised rounds, each a step search with forward passes only.

One big step leaves the linear regime: replies degenerate and generic KL rises. So every round takes the gradient at the
model as adapted so far, decodes and preconditions it, and goes as far along it as takes p(answer) down by a fixed
factor. Views whose reply still leaks the answer join in.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worker.r2f.adaptation import Adaptation, Update, plus
from worker.r2f.config import Config
from worker.r2f.curvature import Curvature
from worker.r2f.drift import DriftBatch
from worker.r2f.examples import Batch, Example, collate, demoted_mask
from worker.r2f.forward import span_logits
from worker.r2f.gradients import Factors, Sketch, Sketcher, aligned_factors, drawn_factors, visiting
from worker.r2f.language import LanguageModel
from worker.r2f.losses import Loss, softened, unlearning_loss
from worker.r2f.lowrank import LowRank
from worker.r2f.sites import Site

SCOUTS = 2  # views that tell the first round where to look
MAX_TRIES = 5  # forward passes of one step search
PROGRESS = 0.8  # of the largest p(answer) that must be left for a step to count that does not reach its goal


class NonFiniteGradientError(ArithmeticError):
    """The gradient holds NaN or infinite values; the model's weights or precision cannot carry it."""


@dataclass(frozen=True)
class Step:
    """One accepted round."""

    step: float
    answer_max: float
    answer_mean: float
    kl: float
    forwards: int
    seconds: float


@dataclass(frozen=True)
class Path:
    """Where the rounds led."""

    update: Update
    steps: tuple[Step, ...]
    examples: tuple[Example, ...]  # the training views, leaks that joined included


@dataclass(frozen=True)
class Forgetting:
    """The training views as one batch, with what is demoted in them."""

    batch: Batch
    demoted: Tensor  # (S × V) bool

    @classmethod
    def of(cls, lm: LanguageModel, examples: Sequence[Example]) -> "Forgetting":
        vocabulary = lm.model.get_output_embeddings().weight.shape[0]  # type: ignore[no-untyped-call]
        return cls(collate(examples, lm.pad, lm.device, lm.opening), demoted_mask(examples, vocabulary, lm.device))

    def few(self, count: int) -> "Forgetting":
        """About so many of the views, evenly chosen."""
        n = len(self.batch.ids)
        rows = torch.arange(0, n, -(-n // count), device=self.batch.ids.device)
        spans = torch.isin(self.batch.rows, rows)
        return Forgetting(self.batch.only(rows, spans), self.demoted[spans])

    def answer(self, logits: Tensor) -> Tensor:
        """p(answer) of every view (n,): the mass on the tokens that may start the answer where its span begins."""
        firsts = self.batch.firsts
        return (torch.softmax(logits.detach()[firsts], dim=-1) * self.demoted[firsts]).sum(-1)

    def even(self, logits: Tensor) -> Tensor:
        """Weights of the loss at every span position (S,).

        The softened loss pushes a position's log-odds by its p. A span's later tokens are often sure once the first is
        given, and would take over: here none counts for more than its view's first token does.
        """
        p = (torch.softmax(logits, dim=-1) * self.demoted).sum(-1)  # (S,)
        share = (p[self.batch.firsts][self.batch.rows] / p.clamp_min(1e-30)).clamp(max=1)
        return self.batch.weights * share

    def backward(self, logits: Tensor, loss: Loss = softened) -> Tensor:
        """Backpropagate the unlearning loss from logits (S × V) that carry a graph.

        Returns:
            How fast the loss falls when the log-odds of all that is demoted fall together, a scalar.
        """
        logits.retain_grad()
        whole = (loss(logits, self.batch.tokens, self.demoted) * self.even(logits.detach())).sum()
        whole.backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None
        return (logits.grad * self.demoted).sum()

    def whole_answer(self, lm: LanguageModel) -> Tensor:
        """The probability of every view's whole span (n,), token after token."""
        with torch.no_grad():
            logs = torch.log_softmax(span_logits(lm.model, self.batch), dim=-1)
        taken = logs.gather(-1, self.batch.tokens[:, None]).squeeze(-1)  # (S,)
        return torch.zeros(len(self.batch.ids), device=logs.device).index_add_(0, self.batch.rows, taken).exp()

    def measure(self, lm: LanguageModel) -> Tensor:
        """p(answer) of every view (n,) from one forward pass."""
        with torch.no_grad():
            return self.answer(span_logits(lm.model, self.batch))


# From the LoRA gradients of every site to its full gradient, in factors.
Decode = Callable[[Sequence[Site], Mapping[str, Sketch]], dict[str, LowRank]]


@dataclass(frozen=True)
class Linearisation:
    """The model as adapted so far, to first order."""

    answer: Tensor  # (n,) p(answer)
    pull: float  # how fast the loss falls when all views' log-odds fall together
    gradient: dict[str, LowRank]


@dataclass(frozen=True)
class Sketched:
    """What one forward and one backward pass tell."""

    answer: Tensor  # (n,) p(answer)
    pull: Tensor  # see Forgetting.backward
    sketches: dict[str, Sketch]


class Linearise:
    """Takes and decodes the gradient of the unlearning loss, at LoRA factors that follow it.

    The factors are drawn once per deletion and turned towards the gradient of a few views; after that, each round turns
    them for the next, whose gradient lies close by. Without ``align`` they stay as drawn.
    """

    def __init__(
        self,
        lm: LanguageModel,
        decode: Decode,
        config: Config,
        *,
        align: bool = True,
        factors: Mapping[str, Factors] | None = None,
    ) -> None:
        self._lm, self._decode, self._align = lm, decode, align
        self._loss = unlearning_loss(config.loss, lm.encode)
        self._factors = factors or drawn_factors(lm.sites, config.sketch_rank, config.seed, lm.device)
        self._aligned = False

    def __call__(self, views: Forgetting) -> Linearisation:
        """One forward and one backward pass; in the first round another one over a few views.

        Raises:
            NonFiniteGradientError: the loss or a LoRA gradient is NaN or infinite.
        """
        if self._align and not self._aligned:
            self.follow(self.sketch(views.few(SCOUTS)).sketches)
            self._aligned = True
        taken = self.sketch(views)
        if self._align:
            self.follow(taken.sketches)
        return Linearisation(taken.answer, float(taken.pull), self._decode(self._lm.sites, taken.sketches))

    def sketch(self, views: Forgetting) -> Sketched:
        """The LoRA gradients of every site at the present factors."""
        sketcher = Sketcher(self._factors)
        with torch.enable_grad(), visiting(self._lm.model, self._lm.sites, sketcher):
            logits = span_logits(self._lm.model, views.batch)
            pull = views.backward(logits, self._loss)
        # the backward pass ends in the first layer: what is not finite anywhere has come down to it
        ends = [sketcher.sketches[site.name] for site in self._lm.sites if site.layer == self._lm.sites[0].layer]
        finite = torch.stack([pull, *(sketch.y.sum() + sketch.z.sum() for sketch in ends)]).isfinite()
        if not finite.all():
            raise NonFiniteGradientError(NonFiniteGradientError.__doc__)
        return Sketched(views.answer(logits), pull, sketcher.sketches)

    def follow(self, sketches: Mapping[str, Sketch]) -> None:
        """Turn the factors towards the gradient that these sketches have seen."""
        self._factors = {name: aligned_factors(sketch) for name, sketch in sketches.items()}


@dataclass(frozen=True)
class Trial:
    """A step that was tried, and the largest p(answer) after it."""

    step: float
    answer: Tensor

    @property
    def worst(self) -> float:
        return float(self.answer.max())


def search_step(measure: Callable[[float], Tensor], first: float, start: float, goal: float) -> tuple[Trial, int]:
    """Find a step after which the largest p(answer) lies in [goal / 10, 1.2 · goal], by secants in log p.

    Args:
        measure: p(answer) of every view for a step.
        first: the step to try first.
        start: the largest p(answer) without a step.
        goal: the largest p(answer) wanted.

    Returns:
        The accepted trial (the deepest of those tried, when none reached the goal) and the number of forward passes. A
        search ends early where a longer step leaves more than a shorter one did.
    """
    low, high = (0.0, math.log(start)), None
    wanted, step = math.log(goal / 2), first
    trials: list[Trial] = []
    for _ in range(MAX_TRIES):
        trial = Trial(step, measure(step))
        trials.append(trial)
        if goal / 10 <= trial.worst <= 1.2 * goal:
            return trial, len(trials)
        best = min(trials, key=lambda t: t.worst)
        if trial.worst > goal and best is not trial and best.step < step and best.worst <= PROGRESS * start:
            return best, len(trials)  # the way has bent: the rest of it is for the next round, along a new gradient
        here = (step, math.log(max(trial.worst, 1e-30)))
        if trial.worst > goal:
            low = here
        else:
            high = here
        if high is not None:
            share = (low[1] - wanted) / (low[1] - high[1])
            step = low[0] + (high[0] - low[0]) * min(max(share, 0.1), 0.9)
        else:
            share = (math.log(start) - wanted) / max(math.log(start) - here[1], 1e-3)
            step *= min(max(share, 1.3), 4.0)
    deep_enough = [trial for trial in trials if trial.worst <= 1.2 * goal]
    # the gentlest step that reaches the goal, else the one that came closest to it
    chosen = min(deep_enough, key=lambda t: t.step) if deep_enough else min(trials, key=lambda t: t.worst)
    return chosen, len(trials)


def first_step(at: Linearisation, direction: dict[str, LowRank], goal: float) -> float:
    """The step that takes p(answer) to half the goal if all views' log-odds fell together in a straight line.

    Log-odds follow a step more evenly than the loss does, whose slope vanishes with p.
    """
    slope = sum(at.gradient[name].inner(direction[name]) for name in direction)
    height = torch.logit(at.answer.max().clamp(max=1 - 1e-6)) - math.log(goal / 2)
    return float(height) * at.pull / max(slope, 1e-30)


@dataclass(frozen=True)
class Walker:
    """Takes single rounds on one model."""

    lm: LanguageModel
    linearise: Callable[[Forgetting], Linearisation]
    curvature: Curvature
    drift: DriftBatch
    config: Config
    adaptation: Adaptation

    def advance(self, update: Update, views: Forgetting) -> tuple[Update, Step] | None:
        """One round from an update; None where it would not lower p(answer) within the utility budget."""
        started = time.perf_counter()
        self.adaptation.use(update)
        at = self.linearise(views)
        worst = float(at.answer.max())
        direction = self.curvature.precondition(self.lm.sites, at.gradient, self.config.damping)
        goal = max(worst / self.config.factor, self.config.depth / 2)

        def measure(step: float) -> Tensor:
            self.adaptation.use(plus(update, direction, step))
            return views.measure(self.lm)

        first = first_step(at, direction, goal)
        trial, forwards = search_step(measure, first, worst, goal)
        further = plus(update, direction, trial.step)
        self.adaptation.use(further)
        kl = self.drift.measure(self.lm).kl_mean
        if kl > self.config.kl_budget or trial.worst >= worst:
            return None
        mean, seconds = float(trial.answer.mean()), time.perf_counter() - started
        return further, Step(trial.step, trial.worst, mean, kl, forwards, seconds)


def walk(
    lm: LanguageModel,
    linearise: Callable[[Forgetting], Linearisation],
    curvature: Curvature,
    drift: DriftBatch,
    examples: Sequence[Example],
    leaks: Callable[[], list[Example]],
    config: Config,
    progress: Callable[[float], None],
) -> Path:
    """Take the training views' p(answer) down to the depth, round by round.

    Args:
        leaks: asks the adapted model the training views again and returns the replies that still hold an answer.
        progress: called with the share of the way done after every round; may raise to stop.
    """
    views, examples = Forgetting.of(lm, examples), list(examples)
    update: Update = {}
    steps: list[Step] = []
    with Adaptation(lm.model, lm.sites) as adaptation:
        walker = Walker(lm, linearise, curvature, drift, config, adaptation)
        while len(steps) < config.max_rounds:
            if steps and steps[-1].answer_max <= config.depth:
                adaptation.use(update)
                fresh = leaks()
                if not fresh:
                    break
                examples += fresh
                views = Forgetting.of(lm, examples)
            taken = walker.advance(update, views)
            if taken is None:
                break  # further along this path the model pays more than the fact is worth
            update, step = taken
            steps.append(step)
            progress(len(steps) / config.max_rounds)
    return Path(update, tuple(steps), tuple(examples))
