"""A picture in SVG. Its marks name what they mean as classes, and a style sheet gives the colours."""

from collections.abc import Sequence

from markupsafe import Markup

WIDTH = 460.0  # of every picture, in its own units
Point = tuple[float, float]


class Drawing:
    """Marks on a canvas; y grows downwards."""

    def __init__(self, height: float, label: str) -> None:
        self.height = height
        self._label = label  # for whoever cannot see the picture
        self._marks: list[Markup] = []

    def line(self, start: Point, end: Point, kind: str) -> None:
        """A straight line."""
        self._add('<line class="{}" x1="{:g}" y1="{:g}" x2="{:g}" y2="{:g}"/>', kind, *_short(*start, *end))

    def path(self, points: Sequence[Point], kind: str) -> None:
        """A line through points."""
        drawn = " ".join(f"{x:g},{y:g}" for x, y in (_short(*point) for point in points))
        self._add('<polyline class="{}" points="{}"/>', kind, drawn)

    def dot(self, at: Point, kind: str, tip: str = "", radius: float = 4.5) -> None:
        """A point, with what is told when a pointer rests on it."""
        self._add('<circle class="{}" cx="{:g}" cy="{:g}" r="{:g}">{}</circle>', kind, *_short(*at), radius, _tip(tip))

    def box(self, at: Point, width: float, height: float, kind: str, tip: str = "") -> None:
        """A filled rectangle from its upper left corner."""
        shape = '<rect class="{}" x="{:g}" y="{:g}" width="{:g}" height="{:g}">{}</rect>'
        self._add(shape, kind, *_short(*at, max(width, 0.0), height), _tip(tip))

    def text(self, at: Point, words: str, kind: str = "label") -> None:
        """Words; the kind says where they are anchored."""
        self._add('<text class="{}" x="{:g}" y="{:g}">{}</text>', kind, *_short(*at), words)

    def svg(self) -> Markup:
        """The picture."""
        head = Markup('<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {:g} {:g}" role="img">')
        title = Markup("<title>{}</title>").format(self._label)
        return head.format(WIDTH, self.height) + title + Markup("").join(self._marks) + Markup("</svg>")

    def _add(self, shape: str, *values: object) -> None:
        self._marks.append(Markup(shape).format(*values))


def _tip(words: str) -> Markup:
    return Markup("<title>{}</title>").format(words) if words else Markup("")


def _short(*numbers: float) -> list[float]:
    """Coordinates as exact as a screen can show."""
    return [round(number, 1) for number in numbers]
