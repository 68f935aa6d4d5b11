"""Pictures of the tables: each column's means with their intervals, one row for each method."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.charts.drawing import WIDTH, Drawing
from app.charts.picture import png
from benchmarks.runs import NOT_KNOWN
from benchmarks.tables import COLUMNS, Spread, counted, spread

LEFT, RIGHT, TOP, ROW, GAP = 172.0, 66.0, 20.0, 18.0, 46.0
SHARES = frozenset(
    {"success", "success_sampled", "success_worst", "neighbours", "success_rtn4", "success_q4_1", "degenerate"}
)


def plot(
    rows: Sequence[Mapping[str, object]],
    path: Path,
    columns: Mapping[str, str] = COLUMNS,
    shares: frozenset[str] = SHARES,
) -> None:
    """Write a PNG with a panel for each column that the rows hold; a row that failed counts as the unchanged model.

    Args:
        columns: their titles, by name.
        shares: those that lie between 0 and 1.
    """
    known = [row for row in rows if row["method"] != NOT_KNOWN]
    done = [counted(row) for row in known]
    units = list(dict.fromkeys(str(row["method"]) for row in done))
    panels = []
    for column, title in columns.items():
        if not any(column in row for row in known):
            continue
        found = [(unit, spread([row for row in done if row["method"] == unit], column)) for unit in units]
        shown = [(unit, values) for unit, values in found if values is not None]
        if shown:
            panels.append((column, title, shown))
    drawing = Drawing(sum(TOP + GAP + ROW * len(shown) for _, _, shown in panels), "Means with 95 % intervals")
    top = 0.0
    for column, title, shown in panels:
        _panel(drawing, top, title, shown, share=column in shares)
        top += TOP + GAP + ROW * len(shown)
    path.write_bytes(png(drawing))


def _panel(drawing: Drawing, top: float, title: str, shown: Sequence[tuple[str, Spread]], *, share: bool) -> None:
    """One column: shares from 0 to 1, everything else from 0 to its largest."""
    highest = 1.0 if share else max(max(values.limits or (values.mean,)) for _, values in shown) or 1.0
    first, bottom = top + TOP, top + TOP + ROW * len(shown)
    drawing.text((LEFT, top + 13), title, "label")
    for quarter in range(5):
        x = _x(quarter / 4)
        drawing.line((x, first), (x, bottom), "grid")
        drawing.text((x, bottom + 14), f"{highest * quarter / 4:.3g}", "label middle")
    for place, (unit, values) in enumerate(shown):
        y = first + ROW * (place + 0.5)
        drawing.text((LEFT - 10, y + 4), unit, "label end")
        mean, *limits = (_x(min(max(value / highest, 0.0), 1.0)) for value in (values.mean, *(values.limits or ())))
        if limits:
            drawing.line((limits[0], y), (limits[1], y), "whisker after")
        drawing.dot((mean, y), "after")
        drawing.text((WIDTH - RIGHT + 12, y + 4), _number(values.mean), "value")


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def _number(value: float) -> str:
    return f"{value:.3g}" if value == 0 or abs(math.log10(abs(value))) < 4 else f"{value:.1e}"
