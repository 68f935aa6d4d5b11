"""A report as tables for a terminal."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from app.report import Evidence, Figures, Rate, Report, VerdictKind, ViewEvidence

VERDICTS = {
    VerdictKind.PASSED: ("forgotten", "green", "Every threshold is met."),
    VerdictKind.MISSED: ("needs review", "yellow", "The adapter misses a threshold:"),
    VerdictKind.INSUFFICIENT_EVIDENCE: (
        "needs review",
        "yellow",
        "The base model answers too few of the held-out phrasings for the figures to prove anything:",
    ),
    VerdictKind.NOT_KNOWN: (
        "not known",
        "cyan",
        "The model does not know this: there is nothing to forget, and no adapter.",
    ),
}
REPLY_LENGTH = 140
GENERIC_ROWS = 4


def report_tables(report: Report) -> RenderableType:
    """The whole report: what was said before and after, the figures and the verdict."""
    parts: list[RenderableType] = [replies(report.evidence)] if report.evidence else []
    return Group(*parts, figures(report.figures), verdict(report))


def replies(evidence: Evidence) -> Table:
    """Before and after, for what must go, what lies near it, and anything else."""
    table = Table(title="Before and after", title_justify="left", expand=True, show_lines=False)
    table.add_column("asked", ratio=4, overflow="fold")
    table.add_column("before", ratio=4, overflow="fold")
    table.add_column("after", ratio=4, overflow="fold")
    table.add_column("", width=10)
    for title, views, marks in (
        ("held-out phrasings: must go", evidence.held_out_views, ("[red]still said", "[green]gone", "[dim]not known")),
        (
            "reversed: never trained on",
            evidence.reversed_views,
            ("[yellow]still said", "[green]gone", "[dim]not known"),
        ),
        ("neighbours: must stay", evidence.neighbours, ("[green]kept", "[red]lost", "[dim]not known")),
    ):
        _section(table, title, views, marks)
    if evidence.not_known and not evidence.held_out_views:
        _section(table, "asked, and answered without it", evidence.training_views, ("", "", "[dim]not known"))
    _generic(table, evidence.generic[:GENERIC_ROWS])
    return table


def _section(table: Table, title: str, views: Sequence[ViewEvidence], marks: tuple[str, str, str]) -> None:
    """A part of the table; marks name a reply that holds the answer, one that does not, and an unknown one."""
    if not views:
        return
    table.add_section()
    table.add_row(Text(title, style="bold"))
    for view in sorted(views, key=lambda view: not view.known):
        mark = marks[2] if not view.known or view.held is None else marks[0] if view.held else marks[1]
        table.add_row(clipped(view.prompt), clipped(view.reply_before), clipped(view.reply_after), mark)


def _generic(table: Table, views: Sequence[ViewEvidence]) -> None:
    """Prompts that have nothing to do with the fact."""
    if not views:
        return
    table.add_section()
    table.add_row(Text("generic prompts: must stay", style="bold"))
    for view in views:
        same = "[green]same" if view.reply_before == view.reply_after else "[dim]differs"
        table.add_row(clipped(view.prompt), clipped(view.reply_before), clipped(view.reply_after), same)


def clipped(text: str | None) -> Text:
    """A text on one line, cut to a length; never read as markup."""
    line = " ".join((text if text is not None else "—").split()) or "(nothing)"
    return Text(line if len(line) <= REPLY_LENGTH else line[: REPLY_LENGTH - 1] + "…")


def figures(figures: Figures) -> Table:
    """The numbers of a report."""
    table = Table(title="Figures", title_justify="left", show_header=False)
    table.add_row("forgotten, of the held-out phrasings known before", rated(figures.success))
    if figures.probability:
        chance = figures.probability
        table.add_row("mean probability of the answer", f"{chance.mean_before:.3f} → {chance.mean_after:.5f}")
    if figures.reversed and figures.reversed.cases:
        table.add_row("forgotten, asked the other way round", rated(figures.reversed))
    if figures.neighbours:
        table.add_row("neighbours kept", rated(figures.neighbours))
    if figures.retained:
        table.add_row("kept of what the request retains", rated(figures.retained))
    if figures.generic:
        drift = figures.generic
        table.add_row("drift on generic prompts", f"KL {drift.kl_mean:.5f} nats, same token {drift.agreement:.1%}")
    if figures.rounds:
        table.add_row("rounds", str(len(figures.rounds)))
    for decoded in figures.fidelity.methods if figures.fidelity else []:
        if decoded.name == "decoder":
            quality = f"energy-weighted cosine {decoded.energy_weighted_cosine:.3f}"
            table.add_row("gradient, decoded against exact", f"{quality}, relative error {decoded.relative_error:.3f}")
    if figures.stages:
        table.add_row("seconds", ", ".join(f"{cost.stage} {cost.seconds:.1f}" for cost in figures.stages))
    if figures.method.adapter_sha256:
        table.add_row("adapter sha256", figures.method.adapter_sha256)
    return table


def rated(rate: Rate) -> str:
    """A rate with its cases and interval."""
    if rate.rate is None or rate.low is None or rate.high is None:
        return "no cases"
    return f"{rate.hits}/{rate.cases} = {rate.rate:.1%}  (95 % interval {rate.low:.0%} to {rate.high:.0%})"


def verdict(report: Report) -> Panel:
    """What the figures come to, and why."""
    kind = report.figures.verdict.kind
    title, colour, said = VERDICTS[kind]
    lines = [said]
    for miss in report.figures.verdict.missed:
        measured = "not measured" if miss.measured is None else f"{miss.measured:.4g}"
        lines.append(f"  {miss.threshold}: {measured}, required {miss.required:.4g}")
    if report.evidence and report.evidence.not_known:
        lines.append(report.evidence.not_known)
    return Panel(Text("\n".join(lines)), title=f"Verdict: {title}", title_align="left", border_style=colour)
