"""The adapter as it will be served: beside the model's weights, or merged into them and rounded with them.

What is merged into a model that is then rounded is mostly rounded away, above all where the model lies on the grid
already. So a deletion for such a server takes the rounded model for its base, and every gradient, step and judgement
at the merged and rounded weights.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

from worker.loading import Loaded
from worker.r2f.adaptation import Adaptation, Update
from worker.r2f.compression import compress
from worker.r2f.config import Config
from worker.r2f.curvature import Curvature
from worker.r2f.evaluate import Exam, Replies, sit_exam
from worker.r2f.forgetting import Forgetting
from worker.r2f.language import LanguageModel
from worker.r2f.path import Path
from worker.r2f.quantisation import QUANTISERS, Merged


@contextmanager
def as_served(loaded: Loaded, rounding: str | None) -> Iterator[tuple[Loaded, Merged | None]]:
    """Inside, the base model is as its server has it, and drift is measured from there.

    Args:
        rounding: what the server rounds to, a name of QUANTISERS; None: adapters stay beside the weights.

    Yields:
        What is loaded, and what merges an update and rounds; None where nothing is merged.
    """
    if rounding is None:
        yield loaded, None
        return
    with Merged(loaded.lm.model, loaded.lm.sites, QUANTISERS[rounding]) as merged:
        merged.use({})
        bounds, judges = (
            replace(usual, drift=usual.drift.here(loaded.lm)) for usual in (loaded.search_drift, loaded.judge_drift)
        )
        yield replace(loaded, search_drift=bounds, judge_drift=judges), merged


@dataclass(frozen=True)
class Compressed:
    """p(answer) over the training views before and after the truncation."""

    rank_before: int
    rank_after: int
    answer_before: float
    answer_after: float


def shrink(
    loaded: Loaded, curvature: Curvature, walked: Path, config: Config, merged: Merged | None = None
) -> tuple[Update, Compressed]:
    """Truncate to the adapter's rank, and look again, as it will be served."""
    lm, views = loaded.lm, Forgetting.of(loaded.lm, walked.examples)
    small = compress(walked.update, lm.sites, curvature, config.damping, config.adapter_rank)
    with in_force(lm, walked.update, merged):
        before = float(views.measure(lm).max())
    with in_force(lm, small, merged):
        after = float(views.measure(lm).max())
    rank = max(part.rank for part in walked.update.values())
    return small, Compressed(rank, config.adapter_rank, before, after)


def judge(loaded: Loaded, exam: Exam, update: Update, merged: Merged | None = None) -> Replies:
    """The adapted model's exam."""
    with in_force(loaded.lm, update, merged):
        return sit_exam(loaded.lm, exam)


@contextmanager
def in_force(lm: LanguageModel, update: Update, merged: Merged | None) -> Iterator[None]:
    """The model with an update; the base model as it is served again afterwards, whatever happened inside."""
    beside: AbstractContextManager[Adaptation | Merged]
    beside = nullcontext(merged) if merged else Adaptation(lm.model, lm.sites)
    with beside as adaptation:
        adaptation.use(update)
        try:
            yield
        finally:
            adaptation.use({})
