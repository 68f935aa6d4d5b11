"""What the tables of the benchmarks show: their columns, and means with intervals."""

import random
import statistics
from collections.abc import Mapping, Sequence

from benchmarks.cases import SAMPLES

COLUMNS = {
    "success": "USR greedy",
    "success_sampled": f"best of {SAMPLES}",
    "success_worst": "worst view",
    "neighbours": "GUR near",
    "kl": "KL",
    "agreement": "same token",
    "similarity": "MIA (cosine)",
    "success_rtn4": "4-bit rtn",
    "success_q4_1": "Q4_1",
    "rap": "RAP",
    "benign": "benign",
    "seconds": "seconds",
}


def interval(rows: Sequence[Mapping[str, object]], column: str) -> str:
    """A mean with its bootstrap interval; facts are drawn, with all of their seeds."""
    by_fact: dict[object, list[float]] = {}
    for row in rows:
        value = row.get(column)
        if isinstance(value, int | float):
            by_fact.setdefault(row["fact"], []).append(float(value))
    if not by_fact:
        return "–"
    values = [statistics.mean(each) for each in by_fact.values()]
    drawn = random.Random(0)
    means = sorted(statistics.mean(drawn.choices(values, k=len(values))) for _ in range(1000))
    return f"{statistics.mean(values):.3g} ({means[25]:.2g}–{means[974]:.2g})"
