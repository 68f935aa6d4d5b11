"""What the tables of the benchmarks show: their columns, means with intervals, and what a failure counts as."""

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.measures import SAMPLES
from benchmarks.runs import NOT_KNOWN
from worker.r2f.quantisation import QUANTISERS

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
    "degenerate": "degenerate",
    "seconds": "seconds",
    "rounds": "rounds",
}
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
    """A mean and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


def spread(rows: Sequence[Mapping[str, object]], column: str) -> Spread | None:
    """A column's mean over facts, which are drawn with all of their seeds; None where no row has it."""
    by_fact: dict[object, list[float]] = {}
    for row in rows:
        value = row.get(column)
        if isinstance(value, int | float):
            by_fact.setdefault(row["fact"], []).append(float(value))
    if not by_fact:
        return None
    values = [statistics.mean(each) for each in by_fact.values()]
    drawn = random.Random(0)
    means = sorted(statistics.mean(drawn.choices(values, k=len(values))) for _ in range(1000))
    return Spread(statistics.mean(values), means[25], means[974])


def interval(rows: Sequence[Mapping[str, object]], column: str) -> str:
    """A spread in words."""
    found = spread(rows, column)
    return f"{found.mean:.3g} ({found.low:.2g}–{found.high:.2g})" if found else "–"


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
        differences = _paired(done, unit, other, columns)
        lines.append(f"| {unit} | " + " | ".join(interval(differences, column) for column in columns) + " |")
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
