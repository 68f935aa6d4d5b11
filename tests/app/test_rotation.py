"""Master keys are replaced while the service runs, and what was purged before opens in no copy of the database."""

import base64
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import select, text, update

from app import audit_check, clock, rotation
from app.access import LOCAL
from app.errors import KeyNotAtHand
from app.masterkeys import MasterKeys, load_master_keys, read_key_file, remove_drafts, replace_key_file
from app.models import Deletion, KeyEpoch, Secret
from app.records import open_records
from app.rotation import NotRotatable, Rotation
from app.schemas import DeletionRequest
from app.sealing import LocalSealer
from app.services import Services
from app.settings import Settings
from app.vault import keep, owner
from tests.conftest import FRANCE, FakePipeline, wired, worker_on

PARTS = {"payload": "sealed_payload", "reference": "sealed_reference", "evidence": "sealed_evidence"}
REQUEST = {**FRANCE, "reference": "case-1", "data_subject": "Zebulon"}


def with_new_key(settings: Settings) -> Settings:
    """The settings that a rotation needs: a cluster's operators name a new key beside the present one."""
    if settings.master_key is None:
        return settings
    new = SecretStr(base64.b64encode(secrets.token_bytes(32)).decode())
    return settings.model_copy(update={"master_key": new, "master_key_retiring": settings.master_key})


def after(settings: Settings) -> Settings:
    """The settings once the rotation is over and the old key has been taken out."""
    return settings.model_copy(update={"master_key_retiring": None})


def rotate(settings: Settings):
    records = open_records(settings)
    try:
        return Rotation(records, settings).run()
    finally:
        records.database.close()


def dump(services: Services, place: Path) -> list[Mapping[str, Any]]:
    """Every deletion in a copy: of SQLite the files with their log, of PostgreSQL the rows."""
    tables = "SELECT * FROM deletions"
    if not services.database.sqlite:
        with services.database.read() as session:
            return [dict(row) for row in session.execute(text(tables)).mappings()]
    place.mkdir()
    for file in services.settings.data_dir.glob("r2f.db*"):
        shutil.copy(file, place / file.name)
    with sqlite3.connect(place / "r2f.db") as copy:
        copy.row_factory = sqlite3.Row
        rows = [dict(row) for row in copy.execute(tables)]
    copy.close()
    return rows


def opened(rows: list[Mapping[str, Any]], keys: MasterKeys) -> set[tuple[str, str]]:
    """What of a copy these keys open: deletion and part."""
    sealer, found = LocalSealer(keys, secrets=None), set()  # type: ignore[arg-type]
    for row in rows:
        for part, column in PARTS.items():
            if row[column] is None:
                continue
            try:
                sealer.open(row["wrapped_key"], row["id"], part, row[column])
            except KeyNotAtHand:
                continue
            found.add((row["id"], part))
    return found


def complete(client: TestClient) -> str:
    deletion_id = client.post("/deletions", json=REQUEST).json()["id"]
    worker_on(wired(client), FakePipeline(), f"wrk_{secrets.token_hex(4)}").runner.work()
    return deletion_id


def test_a_dump_from_before_the_purge_and_all_keys_held_today_decrypt_nothing(client, settings, tmp_path):
    services = wired(client)
    purged, alive = complete(client), complete(client)
    rows = dump(services, tmp_path / "copy")
    everything = {(one, part) for one in (purged, alive) for part in PARTS}
    assert opened(rows, services.records.keys) == everything, "the copy is worth something to whoever has the key"
    client.delete(f"/deletions/{purged}/personal-data").raise_for_status()
    assert opened(rows, services.records.keys) == everything, "a purge alone does not reach copies"

    rotating = with_new_key(settings)
    assert rotate(rotating).rewrapped == 3  # one request and two secrets
    held = load_master_keys(after(rotating))
    assert opened(rows, held) == set()

    now = dump(services, tmp_path / "now")
    assert opened(now, held) == {(alive, part) for part in PARTS}, "what is alive opens with today's key"
    today = {row["id"]: row["wrapped_key"] for row in now}
    assert today[purged] is None
    # not even the request's own key, wrapped anew for the living, opens what belonged to another
    crossed = [{**row, "wrapped_key": today[alive]} for row in rows if row["id"] == purged]
    with pytest.raises(Exception, match="cannot be opened"):
        opened(crossed, held)


def test_a_running_service_goes_on_through_a_rotation(client, settings):
    services = wired(client)
    before = complete(client)
    if settings.master_key is not None:
        pytest.skip("a cluster's processes are restarted with the new key; see below")
    rotate(settings)
    seen = client.get(f"/deletions/{before}").json()
    assert seen["reference"] == "case-1"
    assert client.get(seen["links"]["report"]).json()["evidence"] is not None
    newer = complete(client)
    with services.database.read() as session:
        epochs = set(session.scalars(select(Deletion.key_epoch)))
        (present,) = session.scalars(select(KeyEpoch.id).where(KeyEpoch.retired_at.is_(None)))
    assert epochs == {present}
    found = client.post("/deletions/search", json={"data_subject": "zebulon "}).json()["items"]
    assert [item["id"] for item in found] == [newer, before], "keyed hashes survive"
    services.purger.sweep()
    assert services.records.keys.retiring == []


def test_a_process_without_the_new_key_accepts_nothing_and_loses_nothing(client, settings):
    if settings.master_key is None:
        pytest.skip("a key file is read again by itself")
    services, before = wired(client), complete(client)
    rotating = with_new_key(settings)
    rotate(rotating)
    refused = client.post("/deletions", json=REQUEST)
    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/key-not-at-hand")
    with services.database.read() as session:
        assert list(session.scalars(select(Deletion.id))) == [before]
    records = open_records(after(rotating))
    with records.database.read() as session:
        row = session.get(Deletion, before)
    assert records.sealer.open(row.wrapped_key, before, "reference", row.sealed_reference) == b"case-1"
    records.database.close()


@pytest.mark.parametrize("step", ["_have_two_keys", "_take_over", "_rewrap_secrets", "_rewrap_requests", "_let_go"])
@pytest.mark.parametrize("late", [False, True])
def test_a_rotation_that_is_interrupted_is_finished_by_the_next(client, settings, monkeypatch, step, late):
    monkeypatch.setattr("app.rotation.BATCH", 2)
    services = wired(client)
    alive = [client.post("/deletions", json=REQUEST).json()["id"] for _ in range(5)]
    rotating, real = with_new_key(settings), getattr(Rotation, step)

    def torn(self):
        if late:
            real(self)
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(Rotation, step, torn)
        with pytest.raises(OSError, match="power cut"):
            rotate(rotating)
    if not (late and step == "_let_go" and settings.master_key is not None):
        rotate(rotating)
    records = open_records(after(rotating))
    with records.database.read() as session:
        rows = list(session.scalars(select(Deletion)))
        present = records.keys.present.epoch
        assert {row.key_epoch for row in rows} == set(session.scalars(select(Secret.epoch))) == {present}
        left = session.scalars(select(KeyEpoch.id).where(KeyEpoch.destroyed_at.is_(None)))
        assert list(left) == [present]
    assert sorted(row.id for row in rows) == sorted(alive)
    for row in rows:
        assert records.sealer.open(row.wrapped_key, row.id, "reference", row.sealed_reference) == b"case-1"
    assert audit_check.verify(records.database, records.vault.secret("audit")).intact
    records.database.close()
    if settings.master_key is None:
        assert len(read_key_file(services.settings.master_key_path)) == 1


def test_a_secret_that_is_replaced_during_a_rotation_stays_replaced(client, settings, monkeypatch):
    services, rotating = wired(client), with_new_key(settings)
    clear, took_over, real = secrets.token_bytes(32), threading.Event(), Rotation._take_over

    def take_over(self):
        real(self)
        took_over.set()
        assert written.wait(30)

    monkeypatch.setattr(Rotation, "_take_over", take_over)
    written, old = threading.Event(), services.records.keys.present
    with services.database.transaction() as session:
        keep(session, old, "webhook:1", secrets.token_bytes(32), clock.now())
    with ThreadPoolExecutor() as pool:
        rotated = pool.submit(rotate, rotating)
        assert took_over.wait(30)
        with services.database.transaction() as session:
            key = load_master_keys(rotating).present
            wrapped = key.wrap(owner("webhook:1"), clear)
            session.execute(update(Secret).where(Secret.name == "webhook:1").values(wrapped=wrapped, epoch=key.epoch))
            written.set()
            time.sleep(0.5)  # the rotation has read what was there before, or waits
        rotated.result()
    records = open_records(after(rotating))
    assert records.vault.secret("webhook:1") == clear
    records.database.close()


def test_a_rotation_that_ends_between_the_key_file_and_its_record_is_finished_by_the_next(
    client, settings, monkeypatch
):
    if settings.master_key is not None:
        pytest.skip("there is no key file")
    alive = complete(client)

    def torn(path: Path, keys: list[bytes]) -> None:
        replace_key_file(path, keys)
        if len(keys) == 1:
            raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(rotation, "replace_key_file", torn)
        with pytest.raises(OSError, match="power cut"):
            rotate(settings)
    assert len(rotate(settings).emptied) == 2
    assert client.get(f"/deletions/{alive}").json()["reference"] == "case-1"
    with wired(client).database.read() as session:
        assert len(list(session.scalars(select(KeyEpoch.id).where(KeyEpoch.destroyed_at.is_(None))))) == 1


def test_a_key_file_that_was_not_put_in_place_goes_with_the_next_rotation(client, settings, monkeypatch):
    if settings.master_key is not None:
        pytest.skip("there is no key file")
    complete(client)
    path = settings.master_key_path
    before = path.read_bytes()

    def torn(*_):
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", torn)
        with pytest.raises(OSError, match="power cut"):
            rotate(settings)
    (draft,) = settings.data_dir.glob(".master.key.*")
    with draft.open("rb") as held:
        assert before in held.read()
        rotate(settings)
        held.seek(0)
        assert set(held.read()) == {0}
    assert list(settings.data_dir.glob(".master.key.*")) == []


def test_a_draft_that_is_the_key_file_by_another_name_is_not_overwritten(tmp_path):
    path, draft = tmp_path / "master.key", tmp_path / f".master.key.{'0f' * 8}"
    draft.touch(0o600)
    draft.write_bytes(base64.b64encode(bytes(range(32))))
    path.hardlink_to(draft)  # where the making of the first key was interrupted
    remove_drafts(path)
    assert (draft.exists(), read_key_file(path)) == (False, [bytes(range(32))])


def test_a_cluster_that_names_no_new_key_is_told_what_to_do(client, settings):
    if settings.master_key is None:
        pytest.skip("the key file's new key is made by the rotation")
    complete(client)
    with pytest.raises(NotRotatable, match="R2F_MASTER_KEY_RETIRING"):
        rotate(settings)
    stranger = with_new_key(with_new_key(settings))
    with pytest.raises(NotRotatable, match="is not at hand"):
        rotate(stranger)
    assert client.post("/deletions", json=REQUEST).status_code == 202


def test_a_request_that_is_being_accepted_is_rotated_with_the_rest(services: Services, settings: Settings):
    if services.database.sqlite:
        pytest.skip("one writer at a time: no rotation can begin meanwhile")
    request, new = DeletionRequest.model_validate(REQUEST), with_new_key(settings)
    with ThreadPoolExecutor(1) as pool:
        with services.database.write() as session:
            accepted = services.deletions._insert(session, LOCAL, request, clock.now())  # wrapped by the old key
            rotating = pool.submit(rotate, new)
            with pytest.raises(TimeoutError):
                rotating.result(timeout=1.0)  # it waits
        assert len(rotating.result().emptied) == 1
    late = open_records(after(new))
    with late.database.read() as session:
        row = session.get_one(Deletion, accepted.id)
    late.database.close()
    assert late.sealer.open(row.wrapped_key or b"", row.id, "payload", row.sealed_payload)
