"""p(answer) on every held-out view that the base model answers, before and after."""

from app.charts.drawing import WIDTH, Drawing
from app.report import Figures

LEFT, RIGHT, TOP = 14.0, 18.0, 30.0
TALLEST = 440.0


def draw(figures: Figures) -> Drawing | None:
    """One row per view, from where it was to where it is; None where the base model answers no view."""
    views = sorted(figures.answers, key=lambda view: -view.before)
    if not views:
        return None
    row = min(20.0, TALLEST / len(views))
    bottom = TOP + row * len(views)
    drawing = Drawing(bottom + 26, f"Probability of the answer on {len(views)} held-out views, before and after")
    _legend(drawing)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        drawing.line((_x(share), TOP), (_x(share), bottom), "grid")
        drawing.text((_x(share), bottom + 16), f"{share:g}", "label middle")
    for place, view in enumerate(views):
        y = TOP + row * (place + 0.5)
        tip = f"{view.before:.4g} → {view.after:.4g}"
        drawing.line((_x(view.before), y), (_x(view.after), y), "span")
        drawing.dot((_x(view.before), y), "before", tip, radius=min(4.5, row / 2))
        drawing.dot((_x(view.after), y), "after", tip, radius=min(4.5, row / 2))
    return drawing


def _legend(drawing: Drawing) -> None:
    drawing.dot((LEFT + 6, 12), "before")
    drawing.text((LEFT + 16, 16), "base model")
    drawing.dot((LEFT + 122, 12), "after")
    drawing.text((LEFT + 132, 16), "with the adapter")


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - LEFT - RIGHT)
