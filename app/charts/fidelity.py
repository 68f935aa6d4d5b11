"""How well each site's gradient was decoded: a heat map over layers and modules."""

from app.charts.drawing import WIDTH, Drawing
from app.report import Figures, SiteFidelity

LEFT, RIGHT, TOP, ROW = 80.0, 8.0, 12.0, 24.0
SHADES = 8
KEY = 112.0  # from the words of the legend to its first shade


def draw(figures: Figures) -> Drawing | None:
    """One cell per site; None without an audit of the decoder."""
    if figures.fidelity is None or not figures.fidelity.sites:
        return None
    sites = figures.fidelity.sites
    layers = sorted({site.layer for site in sites})
    modules = list(dict.fromkeys(site.module for site in sites))
    lowest, highest = min(site.cosine for site in sites), max(site.cosine for site in sites)
    cell = (WIDTH - LEFT - RIGHT) / len(layers)
    bottom = TOP + ROW * len(modules)
    drawing = Drawing(bottom + 76, f"Cosine of decoded and exact gradient at {len(sites)} sites")
    for site in sites:
        at = (LEFT + cell * layers.index(site.layer), TOP + ROW * modules.index(site.module))
        drawing.box(at, cell - 1, ROW - 1, f"h{_shade(site, lowest, highest)}", _said(site))
    for place, module in enumerate(modules):
        drawing.text((LEFT - 8, TOP + ROW * (place + 0.5) + 4), module, "label end")
    every = max(1, len(layers) // 6)
    for place in range(0, len(layers), every):
        drawing.text((LEFT + cell * (place + 0.5), bottom + 16), str(layers[place]), "label middle")
    drawing.text(((LEFT + WIDTH - RIGHT) / 2, bottom + 34), "layer", "label middle")
    _legend(drawing, bottom + 52, lowest, highest)
    return drawing


def _shade(site: SiteFidelity, lowest: float, highest: float) -> int:
    """Which of the shades, from the worst site to the best."""
    if highest == lowest:
        return SHADES - 1
    return min(SHADES - 1, int(SHADES * (site.cosine - lowest) / (highest - lowest)))


def _said(site: SiteFidelity) -> str:
    return f"layer {site.layer}, {site.module}: cosine {site.cosine:.4f}, {site.energy * 100:.2g} % of the energy"


def _legend(drawing: Drawing, y: float, lowest: float, highest: float) -> None:
    drawing.text((LEFT, y + 11), f"cosine {lowest:.3f}", "label")
    for shade in range(SHADES):
        drawing.box((LEFT + KEY + 18 * shade, y), 17, 14, f"h{shade}")
    drawing.text((LEFT + KEY + 18 * SHADES + 8, y + 11), f"{highest:.3f}", "label")
