"""The artefact store: whole or not at all, and a full disk is told as such."""

import errno
import hashlib
import os
import shutil
from datetime import timedelta

import pytest

from app import clock, storage
from app.errors import ArtefactMissing, NoDiskSpace, StoreUnavailable
from app.storage import FolderStore

FILES = {"a.json": b"{}", "b.bin": b"x" * 700_000}


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


def everything(store):
    return sorted(str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file())


def test_what_was_put_can_be_read_in_part_and_whole(store):
    stored = {file.name: file for file in store.put("del_1", 1, FILES)}
    for name, content in FILES.items():
        file = stored[name]
        assert (file.path, file.size) == (f"del_1/1/{name}", len(content))
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        assert b"".join(store.read(file.path, 0, file.size)) == content
    assert b"".join(store.read("del_1/1/b.bin", 5, 9)) == b"xxxx"
    with pytest.raises(ArtefactMissing):
        store.read("del_1/1/c", 0, 1)


def test_a_second_put_of_the_same_lease_replaces_the_first(store):
    store.put("del_1", 1, FILES)
    store.put("del_1", 1, {"c": b"1"})
    assert everything(store) == ["del_1/1/c"]


def test_only_lower_tokens_are_deleted(store):
    for token in (1, 2, 10):
        store.put("del_1", token, {"a": b"1"})
    (store.root / "del_1" / ".1.torn").mkdir()
    store.delete("del_1", below=10)
    assert everything(store) == ["del_1/10/a"]
    store.delete("del_1", below=11)
    store.delete("del_1", below=11)
    assert list(store.root.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("step", ["open", "fsync", "rename"])
def test_a_full_disk_is_told_and_leaves_nothing(store, monkeypatch, number, step):
    def full(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(*{
        "open": (storage, "_write"), "fsync": (storage.os, "fsync"), "rename": (storage.Path, "rename"),
    }[step], full)  # fmt: skip
    with pytest.raises(NoDiskSpace):
        store.put("del_1", 1, FILES)
    assert everything(store) == []


def test_another_fault_is_not_taken_for_a_full_disk(store):
    store.root.parent.mkdir(exist_ok=True)
    store.root.write_bytes(b"a file where the folder should be")
    with pytest.raises(StoreUnavailable):
        store.put("del_1", 1, FILES)


def test_what_is_not_ours_and_what_goes_meanwhile_is_passed_over(store, monkeypatch):
    store.put("del_1", 1, FILES)
    store.put("del_2", 1, FILES)
    for owner in ("del_1", "del_2"):
        (store.root / owner / "lost+found").mkdir()
    (store.root / "README").write_text("mine")
    later = clock.now() + timedelta(hours=1)
    assert sorted(store.older(later)) == [("del_1", 1), ("del_2", 1)]
    found = store.older(later)
    first, _ = next(found)
    shutil.rmtree(store.root / ({"del_1", "del_2"} - {first}).pop())
    assert list(found) == []
    real = storage.Path.stat

    def renamed(path, **more):
        if path.name == "1":
            raise FileNotFoundError
        return real(path, **more)

    with monkeypatch.context() as patch:
        patch.setattr(storage.Path, "stat", renamed)
        assert list(store.older(later)) == []
    store.delete(first, below=9)
    assert [path.name for path in (store.root / first).iterdir()] == ["lost+found"]
