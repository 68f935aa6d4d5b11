"""Deletions one after another: what is kept between runs, and what the table and its picture say."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from benchmarks.facts import BadData
from benchmarks.measures import Row
from benchmarks.sequential import Composition, Line, _views, parted, plot, table
from worker.errors import NoStep
from worker.r2f.lowrank import LowRank
from worker.r2f.text import Form, Prompt
from worker.r2f.views import View


def _row(way: str, count: int, **more: object) -> Row:
    figures = {"success": 1.0, "earlier": 0.75, "bystanders": 0.5, "kl": 0.001, "agreement": 0.99, "rank": 64}
    return {"fact": count, "seed": 0, "method": way, "count": count, **figures, **more}


def test_an_interrupted_run_finds_its_composition_again(tmp_path: Path) -> None:
    path = tmp_path / "rows-on_top.safetensors"
    assert Composition.load(path, 64, []) == Composition({}, (), 64)
    update = {"a.b.q_proj": LowRank(torch.randn(6, 2), torch.randn(2, 5))}
    Composition(update, (4, 7), 64).save(path)
    for done in ([4], [4, 7], [4, 5, 7]):  # saved before its row; a deletion that failed has a row and no part in it
        found = Composition.load(path, 64, done)
        assert found.facts == (4, 7)
    torch.testing.assert_close(found.update["a.b.q_proj"].left, update["a.b.q_proj"].left)
    torch.testing.assert_close(found.update["a.b.q_proj"].right, update["a.b.q_proj"].right)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_composition_of_other_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows-on_top.safetensors"
    with pytest.raises(BadData, match="is missing"):
        Composition.load(path, 64, [4])
    Composition({"a": LowRank(torch.randn(6, 2), torch.randn(2, 5))}, (4, 7), 64).save(path)
    for rank, done in ((64, []), (64, [7]), (32, [4, 7])):
        with pytest.raises(BadData, match="of other rows, or of rank 64"):
            Composition.load(path, rank, done)


def test_some_facts_are_left_to_delete_however_few_are_known() -> None:
    assert parted(range(75)) == (range(51), range(51, 75))
    assert parted([4, 6, 7]) == ([4, 6], [7])
    with pytest.raises(BadData, match="need two facts"):
        parted([4])


def test_views_are_asked_again_as_they_were() -> None:
    view = View(0, Prompt("The capital of France is", Form.PLAIN), ("Paris",), "cloze", "bank")
    assert _views({"views": [asdict(view)]}) == [view]


def test_the_table_shows_the_first_every_tenth_and_the_last() -> None:
    rows = [_row("on_top", count) for count in range(1, 23)]
    rows[6]["failed"] = "NoStep"
    lines = table(rows).splitlines()[2:]
    assert [line.split(" | ")[1] for line in lines] == ["1", "2", "5", "10", "20", "22"]
    assert [line.split(" | ")[2] for line in lines] == ["0", "0", "0", "1", "1", "1"]


def test_the_picture_has_a_curve_for_each_way(tmp_path: Path) -> None:
    rows = [_row("on_top", count) for count in (1, 2)]
    plot(rows, tmp_path / "one.png")
    plot([*rows, _row("apart", 1), _row("apart", 2, kl=0.5)], tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "two.png").read_bytes()


def test_a_deletion_is_taken_in_once_and_a_failed_one_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    update = {"a": LowRank(torch.randn(6, 2), torch.randn(2, 5))}

    def deleted(loaded: object, case: object, below: Composition, number: int, way: str) -> Composition:
        if number == 9:
            raise NoStep
        return Composition(update, (*below.facts, number), below.rank)

    monkeypatch.setattr("benchmarks.sequential.deleted", deleted)
    line = Line("apart", tmp_path / "rows-apart.safetensors", Composition({}, (), 64))
    assert [line.delete(None, None, number) for number in (4, 4, 9)] == [{}, {}, {"failed": "NoStep"}]  # type: ignore[arg-type]
    assert line.composition.facts == (4,)
    assert Composition.load(line.path, 64, [4, 9]).facts == (4,)
