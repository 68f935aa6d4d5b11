"""The artefact store in a bucket: the promises of the folder, kept by a real S3 server of this machine."""

import hashlib
from datetime import timedelta

import httpx
import obstore
import pytest
from moto.server import ThreadedMotoServer
from obstore.exceptions import GenericError
from pydantic import ValidationError

from app import bucket, clock
from app.access import LOCAL
from app.bucket import BucketStore
from app.errors import ArtefactMissing, StoreUnavailable
from app.reconcile import reconcile
from app.schemas import DeletionRequest
from app.services import build
from app.settings import Settings
from tests.conftest import FRANCE, FakePipeline, caller, wired, worker_on

FILES = {"a.json": b"{}", "b.bin": bytes(range(256)) * 3000}
LATER = timedelta(hours=1)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch):
    """An S3 server with an empty bucket, as the environment names it."""
    started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    address = "http://{}:{}".format(*started.get_host_and_port())
    for name, value in {
        "AWS_ENDPOINT": address,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "something",
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    httpx.post(f"{address}/moto-api/reset").raise_for_status()
    httpx.put(f"{address}/adapters").raise_for_status()
    yield started
    started.stop()


@pytest.fixture
def store(server) -> BucketStore:
    return BucketStore("s3://adapters/r2f/here")


def everything(store: BucketStore) -> set[tuple[str, int]]:
    return set(store.older(clock.now() + LATER))


def test_what_is_not_ours_is_passed_over(store: BucketStore):
    store.put("del_1", 1, FILES)
    for path in ("README", "del_1/notes", "del_1/mine/a"):
        obstore.put(store._bucket, path, b"mine")
    assert everything(store) == {("del_1", 1)}
    store.delete("del_1", below=9)
    assert everything(store) == set()
    assert bytes(obstore.get(store._bucket, "del_1/mine/a").bytes()) == b"mine"


def test_what_was_put_can_be_read_in_part_and_whole(store: BucketStore):
    stored = {file.name: file for file in store.put("del_1", 1, FILES)}
    for name, content in FILES.items():
        file = stored[name]
        assert (file.path, file.size) == (f"del_1/1/{name}", len(content))
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        assert b"".join(store.read(file.path, 0, file.size)) == content
        assert store.size(file.path) == len(content)
    assert b"".join(store.read("del_1/1/b.bin", 5, 9)) == bytes([5, 6, 7, 8])
    assert b"".join(store.read("del_1/1/b.bin", 0, 0)) == b""
    for stop in (0, 1):
        with pytest.raises(ArtefactMissing):
            store.read("del_1/1/c", 0, stop)
    with pytest.raises(ArtefactMissing):
        store.size("del_1/1/c")


def test_a_second_put_of_the_same_lease_replaces_the_first(store: BucketStore):
    store.put("del_1", 1, FILES)
    store.put("del_1", 1, {"c": b"1"})
    with pytest.raises(ArtefactMissing):
        store.read("del_1/1/a.json", 0, 1)
    assert b"".join(store.read("del_1/1/c", 0, 1)) == b"1"


def test_only_lower_tokens_are_deleted(store: BucketStore):
    for owner, token in (("del_1", 1), ("del_1", 2), ("del_1", 10), ("del_10", 1)):
        store.put(owner, token, FILES)
    store.delete("del_1", below=10)
    assert everything(store) == {("del_1", 10), ("del_10", 1)}
    store.drop("del_1", 10)
    assert everything(store) == {("del_10", 1)}
    assert set(store.older(clock.now() - LATER)) == set()


def test_a_put_that_breaks_off_leaves_nothing(store: BucketStore, monkeypatch: pytest.MonkeyPatch):
    put, passed = bucket.obstore.put, []

    def breaks(*args, **more):
        if passed:
            raise GenericError("the line is cut")
        passed.append(put(*args, **more))

    monkeypatch.setattr(bucket.obstore, "put", breaks)
    with pytest.raises(StoreUnavailable):
        store.put("del_1", 1, FILES)
    assert passed
    assert everything(store) == set()


def test_a_store_that_is_away_or_names_no_bucket_is_told_as_such(store: BucketStore, server: ThreadedMotoServer):
    with pytest.raises(StoreUnavailable) as missing:
        BucketStore("s3://nowhere").put("del_1", 1, FILES)
    assert missing.value.detail == "The bucket does not exist."
    with pytest.raises(StoreUnavailable):
        BucketStore("s3://nowhere").check()
    store.check()
    server.stop()
    for act in (
        lambda: store.put("del_1", 1, FILES),
        lambda: store.read("del_1/1/a", 0, 1),
        lambda: everything(store),
        store.check,
    ):
        with pytest.raises(StoreUnavailable):
            act()
    store.delete("del_1", below=2)  # logged: the next comparison finds what is left


def test_an_adapter_goes_through_a_bucket_and_nobody_reads_another(server: ThreadedMotoServer, settings: Settings):
    with caller(settings.model_copy(update={"artefact_url": "s3://adapters"})) as client:
        services = wired(client)
        pipeline = FakePipeline()
        path = client.post("/deletions", json=FRANCE).headers["location"]
        worker_on(services, pipeline).runner.work()
        whole = client.get(f"{path}/adapter")
        assert whole.status_code == 200
        assert whole.headers["etag"] == f'"{hashlib.sha256(whole.content).hexdigest()}"'
        part = client.get(f"{path}/adapter/adapter_model.safetensors", headers={"Range": "bytes=3-6"})
        assert (part.status_code, part.content) == (206, pipeline.adapter["adapter_model.safetensors"][3:7])
        assert list(settings.artefacts.rglob("*")) == []
        server.stop()
        away = client.get(f"{path}/adapter")
        assert (away.status_code, away.json()["type"]) == (503, "/problems/store-unavailable")


def test_files_that_no_row_knows_go_from_a_bucket_too(server: ThreadedMotoServer, settings: Settings):
    services = build(settings.model_copy(update={"artefact_url": "s3://adapters"}))
    recorded = services.deletions.submit(LOCAL, DeletionRequest.model_validate(FRANCE)).row.id
    worker_on(services, FakePipeline()).runner.work()
    services.store.put(recorded, 7, {"a": b"left by a dead worker"})
    services.store.put(clock.new_deletion_id(), 1, {"a": b"1"})
    reconcile(services.database, services.store, services.settings, clock.now() + LATER)
    assert everything(services.store) == {(recorded, 1)}
    services.bell.close()
    services.database.close()


@pytest.mark.parametrize("url", ["adapters", "s3://", "https://host/adapters", "s3:///prefix"])
def test_what_is_no_bucket_is_refused(url: str):
    with pytest.raises(ValidationError):
        Settings(artefact_url=url)


def test_two_places_for_the_adapters_are_refused(tmp_path):
    with pytest.raises(ValidationError, match="set one"):
        Settings(artefact_url="s3://adapters", artefact_dir=tmp_path)
