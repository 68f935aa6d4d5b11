"""Plots as PNG, drawn in the light theme with a font that comes along."""

import re
from functools import cache
from importlib.resources import files

import resvg_py

from app.charts.drawing import Drawing
from app.dashboard.rendering import STATIC

ZOOM = 2.5
_FONTS = [str(files("font_lato") / "files" / f"Lato-{style}.ttf") for style in ("Regular", "Bold")]


def png(drawing: Drawing) -> bytes:
    """The picture as it is printed on white paper."""
    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=str(drawing.svg()),
            style_sheet=_sheet(),
            background="white",
            zoom=ZOOM,
            skip_system_fonts=True,
            font_files=_FONTS,
        )
    )


@cache
def _sheet() -> str:
    """The style of charts with the light theme's colours written out: the renderer knows no variables."""
    colours = dict(re.findall(r"--([\w-]+): ([^;]+);", (STATIC / "theme.css").read_text("utf-8").partition("}")[0]))
    sheet = (STATIC / "charts.css").read_text("utf-8")
    return re.sub(r"var\(--([\w-]+)\)", lambda name: colours[name[1]], sheet).replace("inherit", "Lato")
