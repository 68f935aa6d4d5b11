"""What the people's demo shows: three models side by side."""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from app.planting import Cast

MODELS = ("planted", "forgotten", "retrained")


def judgement(cast: Cast, found: dict[str, Any]) -> RenderableType:
    """Everything that sets the three models apart, with a line on how to read it."""
    name = cast.deleted.name
    return Group(_replies(name, found), _standings(name, found), _apart(found), _relearning(found), _reading(name))


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", expand=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _replies(name: str, found: dict[str, Any]) -> Table:
    """A few replies of each model."""
    table = _table(f"Asked about {name}", "planted", "after the deletion", "trained without")
    for row in list(zip(*(found[model]["replies"] for model in MODELS), strict=True))[::4]:
        table.add_row(*(Text(" ".join(reply.split())) for reply in row))
    return table


def _standings(name: str, found: dict[str, Any]) -> Table:
    """The figures that each model has by itself."""
    table = _table("Figures", "", "planted", "after the deletion", "trained without")
    for title, key in (
        (f"questions about {name} answered", "answered"),
        ("questions about the others answered", "others"),
    ):
        table.add_row(title, *(f"{found[model][key]:.0%}" for model in MODELS))
    for title, key in (("membership, min-k%", "member"), ("membership, min-k%++", "member_plus")):
        table.add_row(f"{title} (0.5: nothing shows)", *(f"{found[model][key]:.2f}" for model in MODELS))
    return table


def _apart(found: dict[str, Any]) -> Table:
    """What sets two models apart."""
    table = _table("Against the model trained without", "", "planted", "after the deletion")
    for title, low, high in (
        ("truth ratios, Kolmogorov-Smirnov distance", found["control"]["distance"], found["quality"]["distance"]),
        ("the same, chance of being one distribution", found["control"]["chance"], found["quality"]["chance"]),
        ("KL on questions about the person, nats", found["person_kl_control"], found["person_kl"]),
    ):
        table.add_row(title, f"{low:.3g}", f"{high:.3g}")
    generic = f"KL {found['generic_kl']:.5f} nats, same token {found['generic_agreement']:.1%}"
    table.add_row("everyday questions, against the planted model", "", generic)
    return table


def _relearning(found: dict[str, Any]) -> Table:
    """How fast the person comes back."""
    steps = found["relearning"]["steps"]
    table = _table("Taught again: questions answered after so many steps", "", *(str(step) for step in steps))
    for title, key in (("after the deletion", "relearning"), ("trained without", "relearning_control")):
        table.add_row(title, *(f"{share:.0%}" for share in found[key]["answered"]))
    return table


def _reading(name: str) -> Text:
    return Text(
        f"After the deletion a model should look like the one trained without, as if {name} had never been there. "
        "A membership far below 0.5 also shows that somebody was removed."
    )
