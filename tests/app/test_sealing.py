"""Sealed records open in their own place with their own key, and nowhere else."""

import base64
import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr, ValidationError

from app.errors import KeyNotAtHand, SealBroken, UnsafeKey
from app.masterkeys import MasterKeys, load_master_keys, replace_key_file
from app.sealing import LocalSealer
from app.settings import Settings

CLEAR = b"the very data to be forgotten"


class OneSecret:
    """A vault with one secret under every name."""

    def __init__(self):
        self.clear = secrets.token_bytes(32)

    def secret(self, name):
        return self.clear


@pytest.fixture
def keys():
    master = secrets.token_bytes(32)
    return MasterKeys(lambda: [master])


@pytest.fixture
def sealer(keys):
    return LocalSealer(keys, OneSecret())


@pytest.fixture
def epoch(keys):
    return keys.present.epoch


def test_what_was_sealed_opens_and_shows_nothing(sealer, epoch):
    key = sealer.new_key("del_1", epoch)
    sealed = sealer.seal(key, "del_1", "payload", CLEAR)
    assert sealer.open(key, "del_1", "payload", sealed) == CLEAR
    assert CLEAR not in sealed + key
    assert sealer.seal(key, "del_1", "payload", CLEAR) != sealed


def test_it_opens_nowhere_else(sealer, epoch):
    key, other = sealer.new_key("del_1", epoch), sealer.new_key("del_2", epoch)
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


def test_another_master_key_opens_nothing_and_another_secret_hashes_differently(sealer, epoch):
    stranger = LocalSealer(MasterKeys(lambda: [secrets.token_bytes(32)]), OneSecret())
    key = sealer.new_key("del_1", epoch)
    with pytest.raises(KeyNotAtHand):
        stranger.open(key, "del_1", "payload", sealer.seal(key, "del_1", "payload", CLEAR))
    assert sealer.fingerprint("reference", "x") == sealer.fingerprint("reference", "x")
    assert sealer.fingerprint("reference", "x") != stranger.fingerprint("reference", "x")
    assert sealer.fingerprint("reference", "x") != sealer.fingerprint("data subject", "x")


def test_what_is_derived_from_a_requests_key_is_its_own_and_survives_another_wrapping():
    masters = [secrets.token_bytes(32), secrets.token_bytes(32)]
    keys = MasterKeys(lambda: masters)
    sealer = LocalSealer(keys, OneSecret())
    key = sealer.new_key("del_1", keys.retiring[0].epoch)
    again = sealer.rewrap(key, "del_1", keys.present.epoch)
    salt = sealer.derive(key, "del_1", "salt")
    assert sealer.derive(again, "del_1", "salt") == salt != sealer.derive(key, "del_1", "other")
    assert sealer.open(again, "del_1", "payload", sealer.seal(key, "del_1", "payload", CLEAR)) == CLEAR
    masters.pop()
    keys.refresh()
    with pytest.raises(KeyNotAtHand):
        sealer.derive(key, "del_1", "salt")


def test_the_data_folders_key_is_made_once_for_the_owner_alone(tmp_path):
    settings = Settings(data_dir=tmp_path / "data")
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: load_master_keys(settings), range(8)))
    assert len({keys.present.epoch for keys in made}) == 1
    assert settings.master_key_path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in settings.data_dir.iterdir()] == ["master.key"]


def test_a_key_that_others_can_read_is_refused(tmp_path):
    settings = Settings(data_dir=tmp_path)
    load_master_keys(settings)
    settings.master_key_path.chmod(0o644)
    with pytest.raises(UnsafeKey):
        load_master_keys(settings)


def test_a_replaced_key_file_is_the_owners_alone_and_the_old_one_is_overwritten(tmp_path):
    settings = Settings(data_dir=tmp_path)
    keys, path = load_master_keys(settings), settings.master_key_path
    before, kept_open = keys.present.epoch, path.open("rb")
    replace_key_file(path, [secrets.token_bytes(32)])
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["master.key"]
    assert set(kept_open.read()) == {0}
    kept_open.close()
    keys.refresh()
    assert keys.present.epoch != before


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
