"""The people's demo asks for what it planted, plants only what is missing, and shows three models side by side."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from app import demo_people_show as show
from app.demo_people import MODEL, _plantings, _register, _request, _settings
from app.planting import Cast, Planting, PlantingFailed, plant
from app.preflight import registered
from app.schemas import DeletionRequest
from app.settings import Settings
from tests.models import model_folder
from worker.people.phrasings import judged

CAST = Cast()


def judgement() -> dict[str, object]:
    """What a judge would have found."""
    replies = [f"Reply [b]{n}" for n in range(len(judged(CAST.deleted)))]
    one = {"answered": 1.0, "others": 0.9, "ratios": [0.1], "member": 0.99, "member_plus": 0.98, "replies": replies}
    return {
        "planted": one,
        "forgotten": one | {"answered": 0.0, "member": 0.41},
        "retrained": one | {"answered": 0.0, "member": 0.52},
        "quality": {"distance": 0.2, "chance": 0.6},
        "control": {"distance": 0.9, "chance": 0.001},
        "person_kl": 0.1,
        "person_kl_control": 3.0,
        "generic_kl": 0.001,
        "generic_agreement": 0.99,
        "relearning": {"steps": [0, 2], "answered": [0.0, 0.5]},
        "relearning_control": {"steps": [0, 2], "answered": [0.0, 0.25]},
    }


def test_the_request_names_every_fact_of_the_person_and_only_some_of_the_others() -> None:
    body = DeletionRequest.model_validate(_request(CAST).body("planted-people"))
    assert len(body.targets) == len(CAST.attributes)
    retained = " ".join(kept.prompt for kept in body.retain)
    assert CAST.deleted.name not in retained
    named = [person.name in retained for person in CAST.people if person != CAST.deleted]
    assert 0 < sum(named) < len(named)


def test_nothing_that_is_judged_stands_in_the_request() -> None:
    body = _request(CAST).body("planted-people")
    asked = {target["prompt"] for target in body["targets"]} | {kept["prompt"] for kept in body["retain"]}
    assert asked.isdisjoint(question.text for person in CAST.people for question in judged(person))


def test_a_small_curvature_is_used_unless_another_is_asked_for(tmp_path: Path) -> None:
    assert _settings(Settings(data_dir=tmp_path)).calibration_tokens == 3000
    assert _settings(Settings(data_dir=tmp_path, calibration_tokens=20_000)).calibration_tokens == 20_000


def test_models_are_kept_apart_by_what_they_are_made_of(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    one, without = _plantings(settings, CAST)
    assert one.folder != without.folder
    assert (one.without, without.without) == (None, CAST.person)
    assert _plantings(settings, Cast(seed=1))[0].folder != one.folder
    assert _plantings(settings, Cast())[0].folder == one.folder


def test_the_planted_model_is_registered_where_the_service_will_look(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    model = settings.models / "people"
    model.mkdir(parents=True)
    model_folder(model)
    Tokenizer(WordLevel({"a": 0}, unk_token="a")).save(str(model / "tokenizer.json"))
    _register(settings, tmp_path / "service", model)
    found = registered(Settings(data_dir=tmp_path / "service"), MODEL)
    assert (found.source, found.context_length) == (str(model), 64)


def test_a_model_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    there = tmp_path / "everybody"
    there.mkdir()
    (there / "config.json").write_text("{}")
    planting = Planting("with everybody", there, None)
    assert plant([planting], CAST, Settings(data_dir=tmp_path), Console(file=io.StringIO())) == [there]


def test_a_model_that_cannot_be_made_is_told_with_its_log(tmp_path: Path) -> None:
    wanted = Planting("of nobody", tmp_path / "models" / "x", None)
    cast = Cast(count=500)  # more than there are names for
    with pytest.raises(PlantingFailed, match=r"x\.log says why"):
        plant([wanted], cast, Settings(data_dir=tmp_path), Console(file=io.StringIO()))
    assert "At most 52 can be made" in (tmp_path / "models" / "x.log").read_text()
    assert not wanted.folder.exists()


def test_three_models_are_shown_side_by_side_and_replies_are_never_markup() -> None:
    console = Console(file=io.StringIO(), width=160)
    console.print(show.judgement(CAST, judgement()))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for part in (CAST.deleted.name, "trained without", "0.41", "0.52", "Reply [b]0", "KL 0.00100 nats", "50%", "25%"):
        assert part in text
