"""What the demo shows beside the report: the stranger's replies, and all facts of a tour."""

from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from app.report import Report
from app.report_tables import VERDICTS, clipped


def asked_again(prompts: Sequence[str], base: Sequence[str], adapted: Sequence[str]) -> Table:
    """Replies of a fresh process that knows nothing of this project."""
    table = Table(title="A fresh process with plain transformers and peft", title_justify="left", expand=True)
    for heading in ("asked", "without the adapter", "with the adapter"):
        table.add_column(heading, ratio=1, overflow="fold")
    for row in zip(prompts, base, adapted, strict=True):
        table.add_row(*(clipped(text) for text in row))
    return table


def summary(rows: Iterable[tuple[str, Report, float]]) -> Table:
    """One line for each fact of a tour: its title, its report, and the seconds from POST to report."""
    table = Table(title="All facts", title_justify="left")
    for heading in ("fact", "verdict", "forgotten", "neighbours kept", "generic KL", "POST to report"):
        table.add_column(heading)
    for title, report, seconds in rows:
        said, colour, _ = VERDICTS[report.figures.verdict.kind]
        kept, drift = report.figures.neighbours, report.figures.generic
        table.add_row(
            Text(title),
            Text(said, style=colour),
            f"{report.figures.success.hits}/{report.figures.success.cases}",
            f"{kept.hits}/{kept.cases}" if kept else "—",
            f"{drift.kl_mean:.5f}" if drift else "—",
            f"{seconds:.1f} s",
        )
    return table
