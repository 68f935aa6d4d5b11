"""Settings of the methods that R2F is compared with, chosen on facts that no table reports.

    r2f bench tuning --data FOLDER [--facts 4] [--method npo …] [--out FILE.jsonl]
    r2f bench tuning --quick

Every method that trains is tried at three rates, those that intervene at half, once and twice their strength. The best
is where most is forgotten and most is kept: the mean over facts of USR (greedy) × neighbours kept × agreement with the
base model's tokens; a run that fails leaves the unchanged model, and so scores nought.
Methods that walk R2F's path have no settings of their own: they take its damping, depth and rounds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from app.methods import Method
from app.schemas import DeletionRequest
from benchmarks.cases import Case
from benchmarks.measures import Row
from benchmarks.runs import NOT_KNOWN, run
from benchmarks.tables import COUNTED, counted, interval
from benchmarks.unlearning import measured
from worker.baselines.catalogue import BASELINES
from worker.baselines.deepcut import DeepCut
from worker.baselines.eco import ECO
from worker.baselines.flat import Flat
from worker.baselines.grad_diff import GradDiff
from worker.baselines.gradient_ascent import GradientAscent
from worker.baselines.logit_filtration import LogitFiltration
from worker.baselines.npo import NPO
from worker.baselines.rmu import RMU
from worker.baselines.scrub import Scrub
from worker.baselines.shred import Shred
from worker.baselines.simnpo import SimNPO
from worker.baselines.sku import SKU
from worker.baselines.task import Unlearner
from worker.loading import Loaded
from worker.unlearning import flattened, settings_of

Trained = GradientAscent | GradDiff | NPO | SimNPO | Flat | Shred | Scrub | SKU | DeepCut | RMU
RATES = (1e-4, 3.3e-4, 1e-3)  # of AdamW: at 3e-3 gradient ascent left nothing of the model
RMU_RATES = (3e-4, 1e-3, 3e-3)  # it trains three layers' down projections alone
STRENGTHS = (0.5, 1.0, 2.0)  # of a method's own
PARTS = ("success", "neighbours", "agreement")
QUICK = (Method.NPO,)


def grid(method: Method) -> dict[str, Unlearner]:
    """A method's settings to choose from, by what is changed in them; none where it has none of its own."""
    baseline = BASELINES.get(method)
    if isinstance(baseline, Trained):
        rates = RMU_RATES if isinstance(baseline, RMU) else RATES
        return {f"rate {rate:.2g}": _at_rate(baseline, rate) for rate in rates}
    if isinstance(baseline, ECO | LogitFiltration):
        return {
            f"strength {each.strength:g}": each
            for each in (replace(baseline, strength=baseline.strength * by) for by in STRENGTHS)
        }
    return {}


def _at_rate(baseline: Trained, rate: float) -> Trained:
    return replace(baseline, training=replace(baseline.training, rate=rate))


TUNED = tuple(method for method in Method if grid(method))


def compare(
    loaded: Loaded,
    requests: Sequence[DeletionRequest],
    methods: Sequence[Method],
    *,
    wanted: int,
    out: Path,
    progress: Callable[[float], None],
) -> list[Row]:
    """Run what is not in the file yet; the rows of all that is."""
    units = {f"{method}: {name}": each for method in methods for name, each in grid(method).items()}

    def measure(case: Case, unit: str) -> Row:
        return measured(loaded, case, requests, Method(unit.partition(":")[0]), units[unit], whole=False)

    return run(
        loaded,
        requests,
        list(units),
        measure,
        settings={"bench": "tuning", **flattened({method: settings_of(method) for method in TUNED})},
        wanted=wanted,
        seeds=1,
        out=out,
        progress=progress,
        roundings=(),
    )


def scored(row: Mapping[str, object]) -> Mapping[str, object]:
    """A row with its score, from 0 to 1."""
    score, row = 1.0, counted(row)
    for part in PARTS:
        value = row.get(part)
        if isinstance(value, int | float):  # no neighbour that the model knows: nothing to lose
            score *= float(value)
    return {**row, "score": score}


def best(rows: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """Each method's best settings, of those that were tried on most facts; the earlier of two equals."""
    units: dict[str, list[float]] = {}
    for row in rows:
        if row["method"] != NOT_KNOWN:
            units.setdefault(str(row["method"]), []).append(float(str(scored(row)["score"])))
    chosen: dict[str, str] = {}
    most: dict[str, int] = {}
    for unit, scores in units.items():
        method = unit.partition(": ")[0]
        most[method] = max(most.get(method, 0), len(scores))
    for unit, scores in units.items():
        method, _, name = unit.partition(": ")
        if len(scores) < most[method]:
            continue
        mean = sum(scores) / len(scores)
        if method not in chosen or mean > sum(units[f"{method}: {chosen[method]}"]) / len(scores):
            chosen[method] = name
    return chosen


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Markdown: the grid of every method, and which of its settings is best."""
    done = [scored(row) for row in rows if row["method"] != NOT_KNOWN]
    chosen = best(rows)
    lines = [f"{len({row['fact'] for row in done})} facts of the half for tuning. {COUNTED}", ""]
    lines += ["| method | settings | units | failed | USR greedy | GUR near | same token | score |", "|---" * 8 + "|"]
    for unit in dict.fromkeys(str(row["method"]) for row in done):
        method, _, name = unit.partition(": ")
        own = [row for row in done if row["method"] == unit]
        failed = sum("failed" in row for row in own)
        cells = [interval(own, part) for part in (*PARTS, "score")]
        shown = f"**{name}**" if chosen[method] == name else name
        lines.append(f"| {method} | {shown} | {len(own)} | {failed} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
