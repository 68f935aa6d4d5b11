"""Every plot of a report, by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.charts import fidelity, path, rates, stages, views
from app.charts.drawing import Drawing
from app.report import Figures


@dataclass(frozen=True)
class Plot:
    """A picture with what it shows."""

    name: str
    title: str
    caption: str
    drawing: Drawing


_PLOTS: Mapping[str, tuple[str, str, Callable[[Figures], Drawing | None]]] = {
    "views": (
        "Before and after, per view",
        "p(answer) on the held-out views that the base model answers. The method never saw them.",
        views.draw,
    ),
    "rates": (
        "What went and what stayed",
        "Shares with Wilson 95 % intervals. Reversed views are never trained on and are held to no threshold.",
        rates.draw,
    ),
    "path": (
        "The path",
        "Each round follows the recovered gradient once more, until the answer is gone or too much would drift.",
        path.draw,
    ),
    "fidelity": (
        "The recovered gradient",
        "Cosine of the decoded with the exact gradient of the first round, site by site.",
        fidelity.draw,
    ),
    "stages": ("Time and memory", "Seconds, and the peak of memory up to the end of each stage.", stages.draw),
}
NAMES = tuple(_PLOTS)


def plot(figures: Figures, name: str) -> Plot | None:
    """A plot of the report; None where the report has nothing to draw."""
    title, caption, draw = _PLOTS[name]
    drawing = draw(figures)
    return Plot(name, title, caption, drawing) if drawing is not None else None


def plots(figures: Figures) -> list[Plot]:
    """Every plot that the report has something for."""
    return [made for name in NAMES if (made := plot(figures, name)) is not None]
