"""The report for people: by `Accept`, as one file, and its plots as pictures; the JSON stays the source."""

import re
import struct

import pytest
from fastapi.testclient import TestClient

from app.charts import gallery
from app.charts.drawing import Drawing
from app.report import Report, Round, VerdictKind
from tests.app.test_dashboard import Elements
from tests.conftest import CANARY, FRANCE, FakePipeline, FakeResult, report_of, wired, worker_on
from tests.reports import FullPipeline, full_report

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def reported(client, pipeline=None):
    deletion_id = client.post("/deletions", json=FRANCE).json()["id"]
    worker_on(wired(client), pipeline or FullPipeline(said=CANARY)).runner.work()
    return f"/deletions/{deletion_id}/report"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("application/json, text/html", "application/json"),
        ("text/html;q=0, */*", "application/json"),
        (BROWSER["Accept"], "text/html; charset=utf-8"),
        ("text/html", "text/html; charset=utf-8"),
    ],
)
def test_programs_get_json_and_browsers_a_page(client: TestClient, accept, kind):
    answer = client.get(reported(client), headers={"Accept": accept} if accept else {})
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)


def test_the_page_says_what_the_json_says(client: TestClient):
    address = reported(client)
    report = Report.model_validate(client.get(address).json())
    page = Elements(client.get(address, headers=BROWSER).text)
    text = " ".join(page.text.split())
    assert report.evidence is not None
    for view in (*report.evidence.held_out_views, *report.evidence.neighbours, *report.evidence.reversed_views):
        for said in (view.prompt, view.reply_before, view.reply_after):
            assert said in text
    for wanted in (
        "Every threshold is met",
        "9/9",
        "5/5",
        "0.00013",
        "99.8 %",
        "still said",
        report.figures.method.seed,
    ):
        assert str(wanted) in text
    assert {figure["id"] for figure in page.all("figure")} == {f"plot-{name}" for name in gallery.NAMES}


def test_a_missed_threshold_is_named(client: TestClient):
    address = reported(client, FullPipeline(VerdictKind.MISSED))
    text = " ".join(Elements(client.get(address, headers=BROWSER).text).text.split())
    assert "The adapter misses a threshold." in text
    assert "neighbours0.80.6" in text


def test_a_fact_that_was_not_known_has_a_page_too(client: TestClient):
    address = reported(client, FakePipeline(VerdictKind.NOT_KNOWN))
    page = Elements(client.get(address, headers=BROWSER).text).text
    assert "there is nothing to forget" in page
    assert "Lyon, I think." in page
    assert "Phrasings that it was trained on" not in page


def test_one_file_needs_nothing_else(client: TestClient):
    answer = client.get(f"{reported(client)}?download")
    assert answer.headers["content-disposition"].startswith('attachment; filename="report-del_')
    page = Elements(answer.text)
    for tag, attributes in page.found:
        assert tag not in ("script", "img", "link")
        assert not {"src", "hx-get"} & set(attributes)
        assert "href" not in attributes
    assert len(page.all("svg")) == len(gallery.NAMES)
    assert "--ground" in answer.text


def test_every_plot_is_a_picture_without_personal_data(client: TestClient):
    address = reported(client)
    for name in gallery.NAMES:
        answer = client.get(f"{address}/{name}.png")
        assert answer.headers["content-type"] == "image/png"
        assert answer.content.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", answer.content[16:24])
        assert width == 1150
        assert height > 200
        assert CANARY not in str(gallery.plot(full_report(said=CANARY).figures, name))


def test_a_plot_without_figures_is_not_found(client: TestClient):
    address = reported(client, FakePipeline())
    missing, unknown = client.get(f"{address}/path.png"), client.get(f"{address}/none.png")
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/plot-not-found")
    assert (unknown.status_code, unknown.json()["type"]) == (422, "/problems/invalid-request")


def test_a_report_that_is_not_there_is_refused_as_it_was_asked_for(client: TestClient):
    deletion_id = client.post("/deletions", json=FRANCE).json()["id"]
    program = client.get(f"/deletions/{deletion_id}/report")
    browser = client.get(f"/deletions/{deletion_id}/report", headers=BROWSER)
    assert (program.status_code, program.json()["type"]) == (409, "/problems/report-not-ready")
    assert (browser.status_code, browser.headers["content-type"]) == (409, "text/html; charset=utf-8")
    assert "no report yet" in browser.text


def test_a_plot_draws_what_the_figures_say():
    figures = full_report().figures
    drawn = {name: str(plot.drawing.svg()) for name in gallery.NAMES if (plot := gallery.plot(figures, name))}
    assert figures.fidelity is not None
    assert drawn["fidelity"].count("<rect") == len(figures.fidelity.sites) + 8
    assert drawn["views"].count('<circle class="after"') == len(figures.answers) + 1
    assert drawn["path"].count("<circle") == 3 * len(figures.rounds)
    assert drawn["stages"].count("<rect") == len(figures.stages)
    assert "9/9" in drawn["rates"]
    assert gallery.plots(report_of(VerdictKind.NOT_KNOWN).figures)[0].name == "rates"


def test_each_power_of_ten_on_the_path_is_as_far_below_the_one_before():
    rounds = [
        Round(round=n, step=1.0, answer_max=p, answer_mean=p, kl=0.0, forwards=1, seconds=1.0)
        for n, p in enumerate((1.0, 0.1, 0.01, 0.0), start=1)
    ]
    figures = full_report().figures.model_copy(update={"rounds": rounds})
    plot = gallery.plot(figures, "path")
    assert plot is not None
    heights = [float(y) for y in re.findall(r'<circle class="second" cx="[\d.]+" cy="([\d.]+)"', plot.drawing.svg())]
    first, second, third, nothing = heights
    assert second - first == pytest.approx(third - second, abs=0.2)
    assert first < third < nothing


def test_words_in_a_plot_are_escaped():
    drawing = Drawing(10, "<b>")
    drawing.text((0, 0), "<script>")
    drawing.dot((0, 0), "after", '"&')
    assert "<script>" not in drawing.svg()
    assert "<b>" not in drawing.svg()


def test_what_was_said_is_escaped(client: TestClient):
    class Hostile(FakePipeline):
        def __call__(self, request, loaded, checkpoint):
            made = super().__call__(request, loaded, checkpoint)
            return FakeResult(made.outcome, full_report(said="<img src=x onerror=alert(1)>"), made.adapter)

    address = reported(client, Hostile())
    for text in (client.get(address, headers=BROWSER).text, client.get(f"{address}?download").text):
        assert "<img src=x" not in text
        assert "&lt;img src=x" in text
