"""The path of the step search: p(answer) on training views and drift on calibration prompts, after each round."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.charts.drawing import WIDTH, Drawing
from app.report import Figures, Round

LEFT, RIGHT = 58.0, 14.0
PANEL = 118.0


@dataclass(frozen=True)
class Axis:
    """Where a value stands between the bottom (0) and the top (1) of a panel, and which values have a line."""

    share: Callable[[float], float]
    ticks: Sequence[tuple[float, str]]


def draw(figures: Figures) -> Drawing | None:
    """Two panels over the same rounds; None where no round was walked."""
    rounds = figures.rounds
    if not rounds:
        return None
    drawing = Drawing(2 * PANEL + 128, f"Probability of the answer and drift over {len(rounds)} rounds")
    drawing.text((LEFT, 16), "p(answer), training views:", "label")
    drawing.line((LEFT + 196, 12), (LEFT + 216, 12), "after")
    drawing.text((LEFT + 222, 16), "largest", "label")
    drawing.line((LEFT + 290, 12), (LEFT + 310, 12), "second")
    drawing.text((LEFT + 316, 16), "mean", "label")
    top = 28.0
    axis = _decades(min(one.answer_mean for one in rounds))
    _axis(drawing, top, axis, rounds)
    _curve(drawing, top, axis, rounds, lambda one: one.answer_max, "after")
    _curve(drawing, top, axis, rounds, lambda one: one.answer_mean, "second")
    drawing.text((LEFT, top + PANEL + 44), "KL on calibration prompts, nats", "label")
    below = top + PANEL + 56
    axis = _linear(max(one.kl for one in rounds) or 1.0)
    _axis(drawing, below, axis, rounds)
    _curve(drawing, below, axis, rounds, lambda one: one.kl, "after")
    drawing.text(((LEFT + WIDTH - RIGHT) / 2, below + PANEL + 34), "round", "label middle")
    return drawing


def _decades(smallest: float) -> Axis:
    """A logarithmic axis up to 1: a forgotten answer falls by powers of ten, and a linear one shows only the first."""
    decades = min(max(math.ceil(-math.log10(max(smallest, 1e-12))), 1), 12)
    ticks = [(10.0**-place, f"{10.0**-place:g}") for place in range(0, decades + 1, math.ceil(decades / 6))]
    return Axis(lambda value: 1 + math.log10(max(value, 10.0**-decades)) / decades, ticks)


def _linear(highest: float) -> Axis:
    ticks = [(share * highest, f"{share * highest:.2g}") for share in (0.0, 0.5, 1.0)]
    return Axis(lambda value: value / highest, ticks)


def _axis(drawing: Drawing, top: float, axis: Axis, rounds: Sequence[Round]) -> None:
    for value, label in axis.ticks:
        y = top + PANEL * (1 - axis.share(value))
        drawing.line((LEFT, y), (WIDTH - RIGHT, y), "grid")
        drawing.text((LEFT - 8, y + 4), label, "label end")
    for place, one in enumerate(rounds):
        drawing.text((_x(place, len(rounds)), top + PANEL + 16), str(one.round), "label middle")


def _curve(
    drawing: Drawing, top: float, axis: Axis, rounds: Sequence[Round], value: Callable[[Round], float], kind: str
) -> None:
    points = [
        (_x(place, len(rounds)), top + PANEL * (1 - min(axis.share(value(one)), 1.0)))
        for place, one in enumerate(rounds)
    ]
    drawing.path(points, kind)
    for one, point in zip(rounds, points, strict=True):
        drawing.dot(point, kind, f"round {one.round}: {value(one):.4g}", radius=3.5)


def _x(place: int, count: int) -> float:
    inset = 18.0
    wide = WIDTH - LEFT - RIGHT - 2 * inset
    return LEFT + inset + (wide * place / (count - 1) if count > 1 else wide / 2)
