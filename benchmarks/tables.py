"""What the tables of the benchmarks show: their columns, and means with intervals."""

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.measures import SAMPLES
from benchmarks.runs import NOT_KNOWN

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
}


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
    """Markdown: means over facts with 95 % bootstrap intervals, and what each unit has more than another, paired.

    Args:
        beside: the unit that a unit is compared with; itself where it is that one.
    """
    done = [row for row in rows if row["method"] != NOT_KNOWN]
    columns = {name: text for name, text in COLUMNS.items() if any(name in row for row in done)} | {"rounds": "rounds"}
    units = list(dict.fromkeys(str(row["method"]) for row in done))
    lines = [f"{len({row['fact'] for row in done})} facts that the model knows", ""]
    lines += [f"| {title} | units | failed | " + " | ".join(columns.values()) + " |", "|---" * (3 + len(columns)) + "|"]
    for unit in units:
        own = [row for row in done if row["method"] == unit]
        good = [row for row in own if "failed" not in row]
        cells = [interval(good, column) for column in columns]
        lines.append(f"| {unit} | {len(own)} | {len(own) - len(good)} | " + " | ".join(cells) + " |")
    pairs = [(unit, beside(unit)) for unit in units if beside(unit) != unit and beside(unit) in units]
    if pairs:
        named = " or ".join(dict.fromkeys(other for _, other in pairs))
        lines += ["", f"Paired, over facts that both finished: what each has more than {named}", ""]
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
