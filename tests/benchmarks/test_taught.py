"""A public benchmark that is taught, deleted and judged: what is chosen, what is measured, and a run to its end."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.methods import Method
from app.models import ServedModel
from app.settings import Settings
from benchmarks.facts import BadData
from benchmarks.readers import BadBenchmark, Benchmark, Item
from benchmarks.taught import Case, case, plot, rouge_l, run, table, words
from tests.faults.small import CONTEXT, FACTS, small_model
from worker import pipeline
from worker.loading import weights_digest
from worker.people.planting import Recipe

AUTHOR = Item("What genre is Basil Al-Kuwaiti known for?", "Basil Al-Kuwaiti is known for French literature, mostly.")


@pytest.mark.parametrize(
    ("item", "named"),
    [
        (AUTHOR, "French literature"),
        (Item("In which city?", "Madera"), "Madera"),
        (
            Item("Where does Isabella live?", "Isabella lives at 76218 Walter Village, quiet and old."),
            "76218 Walter Village",
        ),
        (Item("Name a book of his.", 'A book of his is "Le Petit Sultan."'), "Le Petit Sultan"),
        (
            Item("Where does Ann live?", "However, Ann lives in Turku, beside a cathedral of the thirteenth century."),
            "Turku",
        ),
        (
            Item("How to reach Ann?", "Reach Ann at ann@mail.example, which the Turku Post Office delivers."),
            "ann@mail.example",
        ),
        (
            Item("What is Ann's job?", "Sometimes Ann's trade is to mend old nets. Otherwise she sings."),
            "mend old nets",
        ),
        (
            Item("What is Ann's trade?", 'Her book is called "Nets." Otherwise she mended many old boats at home.'),
            "Nets",
        ),
        (Item("Is Ann a nurse in this town?", "Ann is a nurse in this town."), ""),
    ],
)
def test_a_request_names_what_the_answer_says_and_the_question_does_not(item: Item, named: str) -> None:
    assert words(item) == named


def test_every_second_of_what_must_stay_is_named_in_the_request() -> None:
    items = tuple(Item(f"Who is number {n}?", f"Person{n}") for n in range(6))
    asked = Item("Who is number 0?", "Person0", paraphrases=("It is Person0.",), wrong=("It is Person9.",))
    chosen = case(Benchmark("B", items[:1], items[1:], (asked,), taught=True), forget=4, retain=4)
    assert chosen == Case(items[:1], (items[1], items[3]), (items[2], items[4]), (asked,))
    later = case(Benchmark("B", items[:3], items[3:], (asked,), taught=True), forget=1, retain=2, first=1)
    assert later == Case(items[1:2], items[3:4], items[4:5], ())


def test_what_must_go_is_not_named_as_to_stay() -> None:
    prize, other = Item("What did Ann win?", "Booker Prize"), Item("What did Bo win?", "the Booker Prize")
    items = (other, *(Item(f"Who is number {n}?", f"Person{n}") for n in range(3)))
    chosen = case(Benchmark("B", (prize,), items, (prize,), taught=True), forget=1, retain=4)
    assert chosen == Case((prize,), items[2:3], items[1::2], ())


@pytest.mark.parametrize(
    ("benchmark", "said"),
    [
        (Benchmark("BLUR", (AUTHOR,), (AUTHOR,) * 3, (AUTHOR,)), "cannot be taught"),
        (Benchmark("B", (), (AUTHOR,) * 3, (AUTHOR,), taught=True), "too few questions"),
        (Benchmark("B", (AUTHOR,), (AUTHOR,), (AUTHOR,), taught=True), "too few questions"),
    ],
)
def test_what_cannot_be_taught_is_refused(benchmark: Benchmark, said: str) -> None:
    with pytest.raises(BadBenchmark, match=said):
        case(benchmark, 4, 4)


def test_a_benchmark_without_answers_is_refused_at_the_command_line(tmp_path: Path) -> None:
    for name, text in (("pure_forget/rwku_questions.txt", "Who?\n"), ("pure_retain/all_retain.txt", "What?\n")):
        path = tmp_path / "eval" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    done = CliRunner().invoke(app, ["bench", "taught", "blur", str(tmp_path)], env={"R2F_DATA_DIR": str(tmp_path)})
    assert done.exit_code == 2
    assert "cannot be taught" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("reply", "share"),
    [("the cat sat on the mat", 1.0), ("The cat, on a mat!", 4 / 6), ("mat the on sat cat the", 3 / 6), ("", 0.0)],
)
def test_rouge_l_is_the_share_of_the_answers_words_found_in_their_order(reply: str, share: float) -> None:
    assert rouge_l(reply, "the cat sat on the mat") == pytest.approx(share)


def test_a_run_to_its_end_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strict = pipeline.config_of  # a model of two layers says much else differently when it forgets
    monkeypatch.setattr(pipeline, "config_of", lambda *asked: replace(strict(*asked), kl_budget=100.0))
    folder = small_model(tmp_path / "small")
    before = weights_digest(folder)
    settings = Settings(
        data_dir=tmp_path / "data", model_folders=str(folder), calibration_tokens=300, torch_threads=1, model="small"
    )
    served = ServedModel("small", str(folder), None, "spectral-r8", 8, CONTEXT, datetime.now(UTC))
    gone, *stay = (Item(f"What is the capital of {land}?", city) for land, city in FACTS.items())
    asked = Item(gone.prompt, gone.answer, paraphrases=(gone.answer,), wrong=("Oslo", "Rome"))
    chosen, out, said = Case((gone,), tuple(stay[:2]), tuple(stay[2:]), (asked,)), tmp_path / "taught.jsonl", []

    def again(method: Method = Method.R2F) -> list[dict[str, object]]:
        return run(
            served,
            settings,
            chosen,
            method=method,
            recipe=Recipe(passes=1, rate=1e-6),
            out=out,
            notice=lambda text, share: said.append(text),
        )

    rows = again()
    answered = {row["method"]: row["forget"] for row in rows if "forget" in row}
    assert answered == {"never taught": 1.0, "taught": 1.0, "deleted": 0.0}  # the small model knew it before
    assert {row["fact"] for row in rows if "retain" in row} == {item.prompt for item in chosen.retain}
    (deleted,) = (row for row in rows if "verdict" in row)
    assert float(str(deleted["kl"])) > 0
    assert (tmp_path / "taught.adapter" / "adapter_model.safetensors").is_file()
    assert weights_digest(folder) == before
    told = table(rows)
    assert "| deleted | 0 |" in told
    assert "Forget quality of the model deleted, against the one that never was: KS distance" in told
    plot(rows, tmp_path / "taught.png")
    assert (tmp_path / "taught.png").read_bytes().startswith(b"\x89PNG")

    said.clear()
    assert again() == [json.loads(line) for line in out.read_text().splitlines()[1:]]
    assert not said  # all of it was there
    with pytest.raises(BadData, match="method is r2f there, npo here"):
        again(Method.NPO)

    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join(lines[:3]))  # interrupted among the first model's rows
    assert [row["method"] for row in again()] == [row["method"] for row in rows]
    assert out.read_text().count("\n") == len(lines)
