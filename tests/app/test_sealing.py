"""Sealed records open in their own place with their own key, and nowhere else."""

import base64
import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr, ValidationError

from app.errors import SealBroken, UnsafeKey
from app.sealing import LocalSealer, load_sealer
from app.settings import Settings

CLEAR = b"the very data to be forgotten"


@pytest.fixture
def sealer():
    return LocalSealer(secrets.token_bytes(32))


def test_what_was_sealed_opens_and_shows_nothing(sealer):
    key = sealer.new_key("del_1")
    sealed = sealer.seal(key, "del_1", "payload", CLEAR)
    assert sealer.open(key, "del_1", "payload", sealed) == CLEAR
    assert CLEAR not in sealed + key
    assert sealer.seal(key, "del_1", "payload", CLEAR) != sealed


def test_it_opens_nowhere_else(sealer):
    key, other = sealer.new_key("del_1"), sealer.new_key("del_2")
    sealed = sealer.seal(key, "del_1", "payload", CLEAR)
    torn = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for wrong in (
        (key, "del_2", "payload", sealed),  # another request's row
        (key, "del_1", "evidence", sealed),  # another part of the request
        (other, "del_1", "payload", sealed),
        (key, "del_1", "payload", torn),
        (key, "del_1", "payload", b"\x02" + sealed[1:]),
        (key, "del_1", "payload", b""),
        (key[:-1], "del_1", "payload", sealed),
        (b"", "del_1", "payload", sealed),
    ):
        with pytest.raises(SealBroken):
            sealer.open(*wrong)


def test_another_master_key_opens_nothing_and_hashes_differently(sealer):
    stranger = LocalSealer(secrets.token_bytes(32))
    key = sealer.new_key("del_1")
    with pytest.raises(SealBroken, match="another master key"):
        stranger.open(key, "del_1", "payload", sealer.seal(key, "del_1", "payload", CLEAR))
    assert sealer.fingerprint("reference", "x") == sealer.fingerprint("reference", "x")
    assert sealer.fingerprint("reference", "x") != stranger.fingerprint("reference", "x")
    assert sealer.fingerprint("reference", "x") != sealer.fingerprint("data subject", "x")


def test_the_data_folders_key_is_made_once_for_the_owner_alone(tmp_path):
    settings = Settings(data_dir=tmp_path / "data")
    with ThreadPoolExecutor(8) as pool:
        sealers = list(pool.map(lambda _: load_sealer(settings), range(8)))
    assert len({sealer.fingerprint("x", "y") for sealer in sealers}) == 1
    assert settings.master_key_path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in settings.data_dir.iterdir()] == ["master.key"]


def test_a_key_that_others_can_read_is_refused(tmp_path):
    settings = Settings(data_dir=tmp_path)
    load_sealer(settings)
    settings.master_key_path.chmod(0o644)
    with pytest.raises(UnsafeKey):
        load_sealer(settings)


@pytest.mark.parametrize("key", ["", "abc", base64.b64encode(b"short").decode(), "ä" * 44])
def test_a_key_of_the_wrong_form_is_refused_without_showing_it(key):
    with pytest.raises(ValidationError) as refused:
        Settings(master_key=SecretStr(key))
    assert "short" not in str(refused.value)


def test_postgresql_without_a_given_key_is_refused():
    with pytest.raises(ValidationError, match="R2F_MASTER_KEY is required"):
        Settings(database_url="postgresql+psycopg://localhost/x")


@pytest.mark.parametrize("wrong", [
    {"broker_url": "amqp://x"}, {"database_url": "mysql://x"}, {"heartbeat_seconds": 40}, {"max_attempts": 0},
])  # fmt: skip
def test_settings_that_cannot_work_are_refused(wrong):
    with pytest.raises(ValidationError):
        Settings(**wrong)


def test_every_setting_says_what_it_is():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
