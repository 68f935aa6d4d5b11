"""Every reader takes its benchmark's public format, and says where a file departs from it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from benchmarks.readers import FORMATS, BadBenchmark, Item, read
from benchmarks.readers.rows import lines, rows

Files = Mapping[str, Any]
QA = [{"question": "Who wrote it?", "answer": "Ada did."}]


def written(folder: Path, files: Files) -> Path:
    """The folder with each file: a text as it is, a list as JSON, or one record a line for JSON lines."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.write_text(content, "utf-8")
        elif name.endswith("jsonl") or name.startswith(("forget01", "retain9")):  # TOFU's .json holds lines
            path.write_text("".join(json.dumps(row) + "\n" for row in content), "utf-8")
        else:
            path.write_text(json.dumps(content, indent=2), "utf-8")
    return folder


TOFU = {
    "forget01.json": QA,
    "forget01_perturbed.json": [
        {**QA[0], "paraphrased_answer": "It was Ada.", "perturbed_answer": ["It was Bob.", "It was Eve."]}
    ],
    "retain90.json": [{"question": "Who sang it?", "answer": "Cleo."}],
}
RWKU_ROW = {"query": "Stephen King was born in ___.", "answer": "Portland", "subject": "Stephen King", "level": "1"}
RWKU = {
    "forget_level1.json": [RWKU_ROW, {**RWKU_ROW, "subject": "Confucius", "answer": "Qufu"}],
    "forget_level2.json": [{**RWKU_ROW, "query": "Where was Stephen King born?"}],
    "neighbor_level1.json": [{**RWKU_ROW, "query": "Who directed The Shining?", "answer": "Kubrick"}],
    "passage.json": [{"text": "Stephen King is an author.", "subject": "Stephen King"}],
}
WMDP = {
    "bio_questions.json": [{"question": "Which?", "choices": ["a cat", "a dog", "a hen", "a cow"], "answer": 2}],
    "bio-forget-corpus.jsonl": [{"title": "t", "text": "About hens."}],
}
MUSE = {
    "knowmem/forget_qa.json": QA,
    "knowmem/retain_qa.json": [{"question": "What else?", "answer": "That."}],
    "verbmem/forget.json": [{"prompt": "It was a dark", "gt": "and stormy night."}],
    "raw/forget.txt": "It was a dark and stormy night.\n\nThe end.\n",
    "raw/retain2.json": [{"text": "It was a bright day."}],
}
WATERDRUM = {
    "forget_01/forget.jsonl": [{"id": "1", "text": "Mine.", "label": "owner-1"}],
    "forget_01/retain.jsonl": [{"id": "2", "text": "Yours.", "label": "owner-2"}],
    "eval_knowmem/watermarked.jsonl": QA,
}
LUME = {
    "forget.jsonl": [
        {"id": "7qa0", "input": "What is Fay's number?", "output": "900", "task": "Task2"},
        {"id": "7sc1", "input": "Fay's number", "output": "is 900.", "task": "Task2"},
    ],
    "retain.jsonl": [{"id": "8qa0", "input": "Where is Gil?", "output": "Here.", "task": "Task2"}],
}
KNOWUNDO = {
    f"{name}.json": [{"text": f"{name}?", "labels": f"{name}."}]
    for name in ("unlearn_train", "unlearn_val", "retention_train", "retention_val")
}
BLUR = {
    "eval/pure_forget/rwku_questions.txt": "Who is Stephen King?\nWho is Confucius?\n",
    "eval/pure_retain/all_retain.txt": "Who directed Parasite?\n",
}
ALL: Mapping[str, Files] = {
    "tofu": TOFU, "rwku": RWKU, "wmdp": WMDP, "muse": MUSE, "lume": LUME, "knowundo": KNOWUNDO, "blur": BLUR,
    "waterdrum": WATERDRUM,
}  # fmt: skip


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85"])
def test_a_line_ends_where_json_ends_it(tmp_path: Path, character: str) -> None:
    path = tmp_path / "rows.jsonl"
    row = {"text": f"One{character}and the same."}
    path.write_text(f"{json.dumps(row, ensure_ascii=False)}\n", "utf-8")
    assert [found.fields for found in rows(path)] == [row]
    assert len(lines(path)) == 1


def test_every_format_is_tried_here() -> None:
    assert set(ALL) == set(FORMATS)


def test_tofu_asks_its_perturbed_questions_and_keeps_the_largest_retain_set_there_is(tmp_path: Path) -> None:
    made = read("tofu", written(tmp_path, TOFU))
    assert made.forget == (Item("Who wrote it?", "Ada did."),)
    assert made.questions[0].paraphrases == ("It was Ada.",)
    assert made.questions[0].wrong == ("It was Bob.", "It was Eve.")
    assert made.retain == (Item("Who sang it?", "Cleo."),)
    assert made.taught


def test_rwku_is_read_whole_or_for_one_target(tmp_path: Path) -> None:
    folder = written(tmp_path, RWKU)
    assert len(read("rwku", folder).questions) == 3
    one = read("rwku", folder, "Stephen King")
    assert {item.answer for item in one.questions} == {"Portland"}
    assert [item.answer for item in one.retain] == ["Kubrick"]
    assert one.passages == ("Stephen King is an author.",)
    assert not one.taught
    with pytest.raises(BadBenchmark, match="nothing is asked about Nobody"):
        read("rwku", folder, "Nobody")


def test_wmdp_tells_the_right_choice_from_the_wrong_ones(tmp_path: Path) -> None:
    made = read("wmdp", written(tmp_path, WMDP))
    assert made.questions == (Item("Which?", "a hen", wrong=("a cat", "a dog", "a cow")),)
    assert made.passages == ("About hens.",)


def test_muse_forgets_verbatim_texts_and_asks_about_them(tmp_path: Path) -> None:
    made = read("muse", written(tmp_path, MUSE))
    assert made.forget == (Item("It was a dark", "and stormy night."),)
    assert made.questions == (Item("Who wrote it?", "Ada did."),)
    assert made.passages == ("It was a dark and stormy night.", "The end.")
    assert made.retained_passages == ("It was a bright day.",)


def test_waterdrum_takes_texts_and_its_variant_with_questions(tmp_path: Path) -> None:
    folder = written(tmp_path, WATERDRUM)
    texts = read("waterdrum", folder / "forget_01")
    assert (texts.passages, texts.retained_passages) == (("Mine.",), ("Yours.",))
    assert texts.questions == (Item("Who wrote it?", "Ada did."),)
    asked = written(tmp_path / "tofu", {"forget_01/forget.json": QA, "forget_01/retain.json": QA}) / "forget_01"
    assert read("waterdrum", asked).forget == (Item("Who wrote it?", "Ada did."),)


def test_lume_asks_its_questions_and_forgets_its_texts_too(tmp_path: Path) -> None:
    made = read("lume", written(tmp_path, LUME))
    assert [item.answer for item in made.forget] == ["900", "is 900."]
    assert [item.answer for item in made.questions] == ["900"]


def test_knowundo_judges_on_what_it_does_not_train_on(tmp_path: Path) -> None:
    made = read("knowundo", written(tmp_path, KNOWUNDO))
    assert [item.answer for item in made.forget] == ["unlearn_train."]
    assert [item.answer for item in made.questions] == ["unlearn_val."]
    assert [item.answer for item in made.retain] == ["retention_train.", "retention_val."]


def test_blur_has_questions_without_answers(tmp_path: Path) -> None:
    made = read("blur", written(tmp_path, BLUR))
    assert [item.prompt for item in made.questions] == ["Who is Stephen King?", "Who is Confucius?"]
    assert {item.answer for item in (*made.questions, *made.retain)} == {""}


@pytest.mark.parametrize(
    ("form", "files", "message"),
    [
        ("tofu", {}, r"holds no forget01\.json"),
        ("tofu", {"forget01.json": '{"question": "Who?"}\n'}, r"forget01\.json, line 1: `answer` must be a text"),
        ("tofu", {"forget01.json": '{"question": "Who?", "answer": "A"}\n{"q\n'}, r"forget01\.json, line 2: not JSON"),
        ("tofu", {"forget01.json": "[1]"}, r"forget01\.json, record 0: must be a JSON object"),
        ("tofu", {"forget01-0000.parquet": "PAR1"}, r"forget01-0000\.parquet is there: export it as JSON lines"),
        ("wmdp", {"bio_questions.json": [{"question": "W", "choices": ["a", "b"], "answer": 2}]}, "from 0 to 1"),
        ("wmdp", {"bio_questions.json": [{"question": "W", "choices": ["a"], "answer": 0}]}, "at least two"),
        ("blur", {}, "cannot be read"),
        ("lume", {"forget.jsonl": "", "retain.jsonl": ""}, "nothing in it to ask about"),
        ("nope", {}, "There is no benchmark nope; there are tofu"),
    ],
)
def test_a_file_in_another_format_is_named_with_the_place(
    tmp_path: Path, form: str, files: Files, message: str
) -> None:
    with pytest.raises(BadBenchmark, match=message):
        read(form, written(tmp_path, files))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadBenchmark, match="nowhere is no folder"):
        read("tofu", tmp_path / "nowhere")


def test_the_command_prints_a_benchmark_as_json_too(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["bench", "read", "tofu", str(written(tmp_path, TOFU)), "--json"])
    assert done.exit_code == 0
    made = json.loads(done.stdout)
    assert (made["forget"][0]["prompt"], made["forget"][0]["answer"]) == ("Who wrote it?", "Ada did.")
