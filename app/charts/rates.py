"""What went and what stayed: shares of cases with their intervals."""

from app.charts.drawing import WIDTH, Drawing
from app.report import Figures, Rate

LEFT, RIGHT, TOP, ROW = 146.0, 58.0, 12.0, 34.0


def draw(figures: Figures) -> Drawing | None:
    """One row per kind of prompt; None where nothing was counted."""
    rows = [(label, kind, rate) for label, kind, rate in _rows(figures) if rate is not None and rate.rate is not None]
    if not rows:
        return None
    bottom = TOP + ROW * len(rows)
    drawing = Drawing(bottom + 26, "Shares of prompts forgotten and kept, with 95 % intervals")
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        drawing.line((_x(share), TOP), (_x(share), bottom), "grid")
        drawing.text((_x(share), bottom + 16), f"{share * 100:g} %", "label middle")
    for place, (label, kind, rate) in enumerate(rows):
        y = TOP + ROW * (place + 0.5)
        drawing.text((LEFT - 10, y + 4), label, "label end")
        low, high, middle = rate.low or 0.0, rate.high or 0.0, rate.rate or 0.0
        drawing.line((_x(low), y), (_x(high), y), f"whisker {kind}")
        drawing.dot((_x(middle), y), kind, f"{label}: {middle * 100:.3g} %, 95 % interval {low:.3f} to {high:.3f}", 5.5)
        drawing.text((WIDTH - RIGHT + 12, y + 4), f"{rate.hits}/{rate.cases}", "value")
    return drawing


def _rows(figures: Figures) -> list[tuple[str, str, Rate | None]]:
    worst = figures.worst_target if len(figures.targets) > 1 else None  # of one target it says nothing new
    return [
        ("forgotten", "after", figures.success),
        ("worst target", "after", worst),
        ("reversed, forgotten", "after", figures.reversed),
        ("neighbours kept", "second", figures.neighbours),
        ("retained", "second", figures.retained),
        ("degenerate replies", "before", figures.degenerate),
    ]


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)
