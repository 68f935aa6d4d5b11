"""Master keys: the bytes that wrap every other key, one for each epoch. The present one comes first; a retiring one is
at hand only while rotation re-wraps what it had wrapped.
"""

import base64
import os
import secrets
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.errors import KeyNotAtHand, SealBroken, UnsafeKey
from app.folders import make_private
from app.settings import KEY_BYTES, Settings

FORMAT = b"\x01"
NONCE_BYTES = 12  # the length that GCM is made for; random, as no key seals more than some million records
EPOCH_BYTES = 8
DRAFT_BYTES = 8
RESTORE = "Each of its lines is base64 of 32 bytes: put it back from a back-up."


class MasterKey:
    """One epoch's key. Its id says which key wrapped a record, and nothing about the key."""

    def __init__(self, master: bytes) -> None:
        if len(master) != KEY_BYTES:
            raise UnsafeKey(f"A master key must have {KEY_BYTES} bytes.")
        self.epoch = sha256(b"r2f key id" + master).digest()[:EPOCH_BYTES].hex()
        self._wrapping = AESGCM(
            HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=b"r2f wrapping key").derive(master)
        )

    def wrap(self, owner: str, key: bytes) -> bytes:
        """Wrap `key` so that it unwraps only for that owner."""
        nonce = os.urandom(NONCE_BYTES)
        return FORMAT + bytes.fromhex(self.epoch) + nonce + self._wrapping.encrypt(nonce, key, _bound(owner))

    def unwrap(self, owner: str, wrapped: bytes) -> bytes:
        """What `wrap` was given; raises SealBroken."""
        rest = wrapped[len(FORMAT) + EPOCH_BYTES :]
        try:
            return self._wrapping.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], _bound(owner))
        except (InvalidTag, ValueError) as error:
            raise SealBroken from error


class MasterKeys:
    """The keys at hand. They are read again when one is missed, as another process may have rotated."""

    def __init__(self, read: Callable[[], Sequence[bytes]]) -> None:
        self._read = read
        self._keys = self._load()

    @property
    def present(self) -> MasterKey:
        """The key that the settings or the key file name first."""
        return next(iter(self._keys.values()))

    @property
    def retiring(self) -> list[MasterKey]:
        """Keys that are at hand only to be replaced."""
        return list(self._keys.values())[1:]

    def refresh(self) -> None:
        """Read them again; a key that is no longer named is let go."""
        self._keys = self._load()

    def of(self, epoch: str) -> MasterKey:
        """The key of an epoch; raises KeyNotAtHand."""
        if epoch not in self._keys:
            self.refresh()
        try:
            return self._keys[epoch]
        except KeyError as error:
            raise KeyNotAtHand from error

    def unwrap(self, owner: str, wrapped: bytes) -> bytes:
        """Unwrap with whichever key wrapped it; raises SealBroken, or KeyNotAtHand."""
        return self.of(epoch_of(wrapped)).unwrap(owner, wrapped)

    def _load(self) -> dict[str, MasterKey]:
        return {key.epoch: key for key in map(MasterKey, self._read())}


def epoch_of(wrapped: bytes) -> str:
    """The epoch of the key that wrapped this; raises SealBroken."""
    if wrapped[:1] != FORMAT or len(wrapped) <= 1 + EPOCH_BYTES + NONCE_BYTES:
        raise SealBroken("A wrapped key has an unknown format.")
    return wrapped[1 : 1 + EPOCH_BYTES].hex()


def load_master_keys(settings: Settings) -> MasterKeys:
    """The keys of the settings, or else of the data folder, made there if need be."""
    if settings.master_key is not None:
        given = [settings.master_key, settings.master_key_retiring]
        keys = [base64.b64decode(key.get_secret_value()) for key in given if key is not None]
        return MasterKeys(lambda: keys)
    path = settings.master_key_path
    if not path.exists():
        _generate(path)
    return MasterKeys(lambda: read_key_file(path))


def read_key_file(path: Path) -> list[bytes]:
    """The keys in the file, one a line; raises UnsafeKey when others can read it, or when it holds none."""
    if path.stat().st_mode & 0o077:
        raise UnsafeKey("The master key file must be readable by its owner only (chmod 600).")
    try:
        keys = [base64.b64decode(line, validate=True) for line in path.read_bytes().split()]
    except ValueError as error:
        raise UnsafeKey(f"The master key file holds something that is no key. {RESTORE}") from error
    if not keys:
        raise UnsafeKey(f"The master key file is empty. {RESTORE}")
    return keys


def replace_key_file(path: Path, keys: Sequence[bytes]) -> None:
    """Put a new key file in the old one's place, whole or not at all, and overwrite what the old one held.

    Overwriting reaches the blocks of an ordinary disk. A file system that copies on write, or a disk that levels its
    wear, may keep them: there the disk itself must be encrypted.
    """
    draft = _draft(path, keys)
    with path.open("r+b") as old:  # still open when its name is gone
        draft.replace(path)
        _sync(path.parent)
        _erase(old)


def remove_drafts(path: Path) -> None:
    """Overwrite and remove what a process left behind that ended while it put a key file in place.

    Only for who keeps everybody else from writing key files.
    """
    for draft in path.parent.glob(f".{path.name}.{'[0-9a-f]' * 2 * DRAFT_BYTES}"):
        with draft.open("r+b") as file:
            draft.unlink()
            if os.fstat(file.fileno()).st_nlink == 0:  # else it is the key file itself, by the name it was made under
                _erase(file)


def _generate(path: Path) -> None:
    """Write a first key; of two processes that start at once, one wins and both read its key."""
    make_private(path.parent)
    draft = _draft(path, [secrets.token_bytes(KEY_BYTES)])
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return
    finally:
        draft.unlink(missing_ok=True)
    _sync(path.parent)


def _draft(path: Path, keys: Sequence[bytes]) -> Path:
    """A file beside the path with these keys in it, on disk, for the owner alone."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(DRAFT_BYTES)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.writelines(base64.b64encode(key) + b"\n" for key in keys)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _erase(file: BinaryIO) -> None:
    """Overwrite a file with zeros, on disk."""
    file.write(bytes(os.fstat(file.fileno()).st_size))
    file.flush()
    os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _bound(owner: str) -> bytes:
    """The associated data that ties a wrapped key to its owner."""
    return f"r2f:{owner}:key".encode()
