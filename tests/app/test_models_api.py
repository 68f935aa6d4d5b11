"""GET and POST /models: the embedded model is there, and what is no model is told so."""

import json
import struct

import pytest
from fastapi.testclient import TestClient

from tests.conftest import FakePipeline, wired, worker_on
from tests.models import NO_TENSORS, configuration, decoder_folder, model_folder


@pytest.fixture
def folder(tmp_path):
    """A folder with everything that makes a model, and a decoder's folder in it."""
    model = model_folder(tmp_path / "model", "qwen2", 512)
    decoder_folder(model / "decoder", 4)
    return model


def register(client, folder, **changes):
    body = {"id": "mine", "source": str(folder), "decoder": str(folder / "decoder")} | changes
    return client.post("/models", json=body)


def test_the_embedded_model_is_there_from_the_start(client: TestClient):
    (model,) = client.get("/models").json()["items"]
    assert (model["id"], model["decoder"], model["sketch_rank"]) == ("smollm2-135m-instruct", "spectral-r8", 8)
    assert (model["context_length"], model["workers"], model["calibrated"]) == (2048, 0, False)
    worker_on(wired(client), FakePipeline())
    seen = client.get("/models/smollm2-135m-instruct").json()
    assert (seen["workers"], seen["calibrated"]) == (1, True)


def test_a_folder_with_a_model_can_be_registered_and_named(client: TestClient, folder):
    answer = register(client, folder, context_length=128)
    assert answer.status_code == 201
    assert (answer.json()["sketch_rank"], answer.json()["context_length"]) == (4, 128)
    assert client.get(answer.headers["location"]).json() == answer.json()
    body = {"model": "mine", "targets": [{"prompt": "Who?", "answer": "She"}], "options": {"sketch_rank": 4}}
    assert client.post("/deletions", json=body).status_code == 202


def test_a_model_is_never_given_more_context_than_it_has(client: TestClient, folder):
    assert register(client, folder, context_length=4096).json()["context_length"] == 512


def test_an_id_is_given_once(client: TestClient, folder):
    register(client, folder)
    answer = register(client, folder)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/model-exists")


def test_a_text_that_is_certainly_longer_than_the_context_is_refused(client: TestClient, folder):
    (folder / "config.json").write_text(configuration(context=64))
    register(client, folder)
    (folder / "tokenizer.json").unlink()
    body = {"model": "mine", "targets": [{"text": "word " * 210, "spans": ["word word"]}]}
    body["targets"][0]["text"] = "start " + body["targets"][0]["text"]
    answer = client.post("/deletions", json=body)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/prompt-too-long")
    assert [error["field"] for error in answer.json()["errors"]] == ["targets/0/text"]


def test_where_the_tokenizer_is_at_hand_the_length_is_exact(client: TestClient, folder):
    (folder / "config.json").write_text(configuration(context=16))
    register(client, folder)

    def post(words):
        target = {"prompt": "word " * words, "answer": "x"}
        return client.post("/deletions", json={"model": "mine", "targets": [target]}).status_code

    assert (post(8), post(9)) == (202, 422)


def test_a_folder_that_is_no_model_is_told_so(client: TestClient, folder):
    def slug(**changes):
        answer = register(client, folder, **changes)
        assert answer.status_code == 422
        return answer.json()["type"].removeprefix("/problems/")

    (folder / "empty").mkdir()
    assert slug(source=str(folder / "empty")) == "not-a-model"
    assert slug(source="empty") == "not-a-model"
    assert slug(source="package:something-else") == "not-a-model"
    assert slug(source="org/name") == "hub-not-allowed"
    assert slug(decoder="no-such-decoder") == "unknown-decoder"
    assert slug(decoder=str(folder)) == "unknown-decoder"
    assert slug(sketch_rank=8) == "decoder-rank-mismatch"
    assert slug(id="No Such Id") == "invalid-request"
    (folder / "decoder" / "decoder.safetensors").write_bytes(b"x")
    assert slug() == "unknown-decoder"
    decoder_folder(folder / "decoder", 4)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert slug() == "not-a-model"
    (folder / "config.json").write_text(configuration())
    for torn in (b"", b"garbage", b"\x00" * 64, NO_TENSORS + b"more"):
        (folder / "model.safetensors").write_bytes(torn)
        assert slug() == "not-a-model"
    (folder / "model.safetensors").write_bytes(NO_TENSORS)
    (folder / "tokenizer.json").write_text("{}")
    assert slug() == "not-a-model"
    (folder / "tokenizer.json").unlink()
    assert slug() == "not-a-model"
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert slug() == "not-a-model"
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    assert slug() == "unsupported-model"
    (folder / "config.json").write_text("[]")
    assert slug() == "not-a-model"
    assert len(client.get("/models").json()["items"]) == 1


DEEP = 100_000
NESTED = b'{"a":' * DEEP + b"1" + b"}" * DEEP


def tensors(head: bytes) -> bytes:
    return struct.pack("<Q", len(head)) + head


@pytest.mark.parametrize(
    ("name", "content", "slug"),
    [
        ("config.json", NESTED, "not-a-model"),
        ("model.safetensors", tensors(NESTED), "not-a-model"),
        (
            "model.safetensors",
            tensors(b'{"a":{"dtype":"F32","shape":["a",999999999],"data_offsets":[0,0]}}'),
            "not-a-model",
        ),
        ("model.safetensors", tensors(b'{"a":{"dtype":"?","shape":[],"data_offsets":[0,0.0]}}'), "not-a-model"),
        ("config.json", configuration(context=10**30).encode(), "not-a-model"),
        ("config.json", configuration(context=2**40).encode(), "not-a-model"),
        ("config.json", configuration(context=15).encode(), "not-a-model"),
        ("config.json", configuration(context=-1).encode(), "not-a-model"),
        ("config.json", configuration(context=True).encode(), "not-a-model"),
        ("config.json", configuration().replace('"hidden_size": 8', '"hidden_size": true').encode(), "not-a-model"),
        ("decoder/card.json", NESTED, "unknown-decoder"),
    ],
)
def test_a_file_that_goes_too_far_is_told_so(client: TestClient, folder, name: str, content: bytes, slug: str):
    (folder / name).write_bytes(content)
    answer = register(client, folder)
    assert (answer.status_code, answer.json()["type"]) == (422, f"/problems/{slug}")


@pytest.mark.parametrize("rank", [10**30, 257, 0, -5, True, 4.0, "4"])
def test_a_decoder_has_a_rank_that_a_sketch_can_have(client: TestClient, folder, rank):
    card = folder / "decoder" / "card.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "sketch_rank": rank}))
    answer = register(client, folder)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/unknown-decoder")
    assert "sketch_rank" in answer.json()["errors"][0]["detail"]


def test_a_model_may_leave_its_context_untold(client: TestClient, folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": None}))
    assert register(client, folder).json()["context_length"] == 2048


def test_an_unknown_model_is_not_found(client: TestClient):
    answer = client.get("/models/none")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/model-not-found")
