"""One update for many deletions: servers apply one LoRA at a time.

Updates of the same weights add up, and a sum of low-rank updates is their concatenation: as long as the ranks fit, the
composition is exact. Past that it is truncated in the curvature norm, as every deletion's own update is, and what it
still forgets has to be measured again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from worker.r2f.adaptation import Update
from worker.r2f.compression import compress
from worker.r2f.curvature import Curvature
from worker.r2f.finetuning import on_top
from worker.r2f.sites import Site


@dataclass(frozen=True)
class Composed:
    """The sum of some updates."""

    update: Update
    exact: bool  # the sum itself; otherwise its best approximation of the rank in the curvature norm


def compose(
    updates: Sequence[Update], sites: tuple[Site, ...], curvature: Curvature, damping: float, rank: int
) -> Composed:
    """The sum of updates, of a rank at most.

    Args:
        updates: one low-rank update (d_out × d_in) per site each; one at least.
        damping: of the curvature, as a share of its mean diagonal.

    Raises:
        ValueError: there is nothing to compose.
    """
    if not updates:
        raise ValueError("There is nothing to compose.")
    whole = updates[0]
    for further in updates[1:]:
        whole = on_top(whole, further)
    if all(part.rank <= rank for part in whole.values()):
        return Composed(whole, exact=True)
    return Composed(compress(whole, sites, curvature, damping, rank), exact=False)
