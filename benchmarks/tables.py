"""What the tables of the benchmarks show: their columns, means with intervals, and what a failure counts as."""

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.measures import SAMPLES
from benchmarks.runs import NOT_KNOWN
from worker.r2f.quantisation import QUANTISERS
from worker.statistics import rate

COLUMNS = {
    "success": "USR greedy",
    "success_sampled": f"best of {SAMPLES}",
    "success_worst": "worst view",
    "answer": "mean p(answer)",
    "neighbours": "GUR near",
    "kl": "KL",
    "agreement": "same token",
    "similarity": "MIA (cosine)",
    "success_rtn4": "4-bit rtn",
    "success_q4_1": "Q4_1",
    "rap": "RAP",
    "benign": "benign",
    "degenerate": "degenerate",
    "seconds": "seconds",
    "rounds": "rounds",
}
AMOUNTS = frozenset({"kl", "seconds", "rounds"})  # all other columns are shares, or cosines: between 0 and 1
FEWEST = 5  # facts, below which draws of them tell no interval
# A deletion that failed leaves the base model as it was; it was not attacked, and its seconds bought nothing.
UNCHANGED = dict.fromkeys(("success", "success_sampled", "success_worst"), 0.0) | {
    **{f"{kind}_{name}": 0.0 for kind in ("success", "beside") for name in QUANTISERS},
    **dict.fromkeys(("neighbours", "agreement", "similarity"), 1.0),
    "kl": 0.0,
}
COUNTED = (
    "A deletion that failed counts as what it leaves, the unchanged model: USR 0, GUR, same token and MIA 1, KL 0; "
    "every other column is of those that did not."
)


def counted(row: Mapping[str, object]) -> Mapping[str, object]:
    """A row as all tables count it: one that failed has the figures of the unchanged model."""
    return {**UNCHANGED, **row} if "failed" in row else row


@dataclass(frozen=True)
class Spread:
    """A mean and its 95 % interval; no interval where the facts are too few or all alike."""

    mean: float
    limits: tuple[float, float] | None = None

    def __str__(self) -> str:
        around = f" ({self.limits[0]:.2g}–{self.limits[1]:.2g})" if self.limits else ""
        return f"{round(self.mean, 12):.3g}{around}"  # differences of shares add up to 0 but for the last bits


def spread(rows: Sequence[Mapping[str, object]], column: str) -> Spread | None:
    """A column's mean over facts with its interval; None where no row has it.

    A bootstrap, but where each fact's share is 0 or each is 1, of which that says nothing: there Wilson's interval for
    the facts that are so. It holds for the mean too, which lies no further from 0 or 1 than the share of other facts.
    """
    values = _by_fact(rows, column)
    if len(values) >= FEWEST and column not in AMOUNTS and set(values) in ({0.0}, {1.0}):
        found = rate(round(sum(values)), len(values))
        return Spread(values[0], (found.low or 0.0, found.high or 0.0))
    return _bootstrapped(values) if values else None


def apart(
    rows: Sequence[Mapping[str, object]], column: str, others: Sequence[Mapping[str, object]], other: str
) -> Spread | None:
    """How much more of a column some facts have than other facts of another; both kinds of fact are drawn."""
    samples = _by_fact(rows, column), _by_fact(others, other)
    return _bootstrapped(*samples) if all(samples) else None


def _by_fact(rows: Sequence[Mapping[str, object]], column: str) -> list[float]:
    """A column's mean of each fact that has it, over seeds."""
    found: dict[object, list[float]] = {}
    for row in rows:
        value = row.get(column)
        if isinstance(value, int | float):
            found.setdefault(row["fact"], []).append(float(value))
    return [statistics.mean(each) for each in found.values()]


def _bootstrapped(*samples: Sequence[float]) -> Spread:
    """A mean, or the first's less the second's, with percentiles of 1000 draws with replacement (Efron, 1979)."""
    mean = _less(*samples)
    if min(map(len, samples)) < FEWEST or all(min(each) == max(each) for each in samples):
        return Spread(mean)
    drawn = random.Random(0)
    means = sorted(_less(*(drawn.choices(each, k=len(each)) for each in samples)) for _ in range(1000))
    return Spread(mean, (means[25], means[974]))


def _less(first: Sequence[float], *others: Sequence[float]) -> float:
    """A mean, less those of others."""
    return statistics.mean(first) - sum(map(statistics.mean, others))


def interval(rows: Sequence[Mapping[str, object]], column: str) -> str:
    """A spread in words."""
    return str(spread(rows, column) or "–")


def paired_table(title: str, rows: Sequence[Mapping[str, object]], beside: Callable[[str], str]) -> str:
    """Markdown: means over facts with 95 % intervals, and what each unit has more than another, paired.

    A row that failed counts as the unchanged model, in both.

    Args:
        beside: the unit that a unit is compared with; itself where it is that one.
    """
    known = [row for row in rows if row["method"] != NOT_KNOWN]
    columns = {name: text for name, text in COLUMNS.items() if any(name in row for row in known)}
    done = [counted(row) for row in known]
    units = list(dict.fromkeys(str(row["method"]) for row in done))
    lines = [f"{len({row['fact'] for row in done})} facts that the model knows. {COUNTED}", ""]
    lines += [f"| {title} | units | failed | " + " | ".join(columns.values()) + " |", "|---" * (3 + len(columns)) + "|"]
    for unit in units:
        own = [row for row in done if row["method"] == unit]
        failed = sum("failed" in row for row in own)
        cells = [interval(own, column) for column in columns]
        lines.append(f"| {unit} | {len(own)} | {failed} | " + " | ".join(cells) + " |")
    pairs = [(unit, beside(unit)) for unit in units if beside(unit) != unit and beside(unit) in units]
    if pairs:
        named = " or ".join(dict.fromkeys(other for _, other in pairs))
        lines += ["", f"Paired, over the facts of both: what each has more than {named}", ""]
        lines += [f"| {title} | " + " | ".join(columns.values()) + " |", "|---" * (1 + len(columns)) + "|"]
    for unit, other in pairs:
        differences = (_by_fact(_paired(done, unit, other, columns), column) for column in columns)
        cells = [str(_bootstrapped(each)) if each else "–" for each in differences]
        lines.append(f"| {unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _paired(
    rows: Sequence[Mapping[str, object]], unit: str, other: str, columns: Mapping[str, str]
) -> list[dict[str, object]]:
    """What a unit has more than another has, of each fact and seed."""
    found = {(row["fact"], row["seed"]): row for row in rows if row["method"] == other}
    differences = []
    for row in rows:
        reference = found.get((row["fact"], row["seed"])) if row["method"] == unit else None
        if reference is None:
            continue
        difference: dict[str, object] = {"fact": row["fact"]}
        for column in columns:
            mine, its = row.get(column), reference.get(column)
            if isinstance(mine, int | float) and isinstance(its, int | float):
                difference[column] = float(mine) - float(its)
        differences.append(difference)
    return differences
