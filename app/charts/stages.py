"""Seconds and memory of every stage."""

from app.charts.drawing import WIDTH, Drawing
from app.report import Figures

LEFT, RIGHT, TOP, ROW = 100.0, 128.0, 8.0, 32.0


def draw(figures: Figures) -> Drawing | None:
    """One bar per stage; None where none was measured."""
    stages = figures.stages
    if not stages:
        return None
    total = sum(stage.seconds for stage in stages)
    longest = max(stage.seconds for stage in stages) or 1.0
    drawing = Drawing(TOP + ROW * len(stages) + 8, f"{total:.3g} seconds over {len(stages)} stages")
    for place, stage in enumerate(stages):
        y = TOP + ROW * place
        wide = (WIDTH - LEFT - RIGHT) * stage.seconds / longest
        drawing.text((LEFT - 10, y + ROW / 2 + 4), stage.stage, "label end")
        drawing.box((LEFT, y + 5), wide, ROW - 10, "after", f"{stage.stage}: {stage.seconds:.3g} s")
        words = f"{stage.seconds:.3g} s · {stage.peak_memory_bytes / 1e9:.3g} GB"
        drawing.text((LEFT + wide + 8, y + ROW / 2 + 4), words, "value")
    return drawing
