"""A report as a page, or as one file that needs nothing else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi.responses import HTMLResponse
from markupsafe import Markup

from app.access import Caller
from app.charts.gallery import plots
from app.dashboard.rendering import STATIC, page
from app.models import Deletion
from app.report import Evidence, Report, VerdictKind, ViewEvidence

Mark = tuple[str, str]  # the kind of a badge, and what it says
VERDICTS: Mapping[VerdictKind, Mark] = {
    VerdictKind.PASSED: ("forgotten", "Every threshold is met."),
    VerdictKind.MISSED: ("needs review", "The adapter misses a threshold."),
    VerdictKind.INSUFFICIENT_EVIDENCE: (
        "needs review",
        "The base model answers too few of the held-out phrasings for the figures to prove anything.",
    ),
    VerdictKind.NOT_KNOWN: ("not known", "The model does not know this: there is nothing to forget, and no adapter."),
}


@dataclass(frozen=True)
class Part:
    """Prompts of one kind, with what is said of each."""

    title: str
    views: Sequence[ViewEvidence]
    mark: Callable[[ViewEvidence], Mark | None]


def context(deletion: Deletion, report: Report) -> dict[str, Any]:
    """What the templates of a report are filled with."""
    return {
        "deletion": deletion,
        "report": report,
        "plots": plots(report.figures),
        "parts": _parts(report.evidence) if report.evidence else [],
        "verdicts": VERDICTS,
        "links": f"/deletions/{deletion.id}/report",
    }


def as_page(caller: Caller, deletion: Deletion, report: Report) -> HTMLResponse:
    """The report among the operators' pages."""
    return page("report.html", caller=caller, **context(deletion, report))


def as_file(deletion: Deletion, report: Report) -> HTMLResponse:
    """The report to be kept or sent: styles and plots are in it, and nothing is fetched."""
    styles = "\n".join((STATIC / name).read_text("utf-8") for name in ("theme.css", "r2f.css", "charts.css"))
    response = page("report_file.html", **context(deletion, report) | {"links": None, "styles": Markup(styles)})
    response.headers["Content-Disposition"] = f'attachment; filename="report-{deletion.id}.html"'
    return response


def _parts(evidence: Evidence) -> list[Part]:
    trained = not evidence.not_known or evidence.held_out_views  # some targets may not be known beside others
    asked = "Phrasings that it was trained on" if trained else "Asked, and answered without it"
    return [
        Part("Held-out phrasings: must go", evidence.held_out_views, _must_go),
        Part("Reversed: never trained on", evidence.reversed_views, _must_go),
        Part("Neighbours: must stay", evidence.neighbours, _must_stay),
        Part("Anything else", evidence.generic, _nothing),
        Part(asked, evidence.training_views, _nothing),
    ]


def _must_go(view: ViewEvidence) -> Mark | None:
    if not view.known or view.held is None:
        return ("unknown", "not known")
    return ("said", "still said") if view.held else ("gone", "gone")


def _must_stay(view: ViewEvidence) -> Mark | None:
    if not view.known or view.held is None:
        return ("unknown", "not known")
    return ("kept", "kept") if view.held else ("lost", "lost")


def _nothing(view: ViewEvidence) -> Mark | None:
    return None
