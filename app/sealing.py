"""Sealed records: AES-256-GCM under a key per request, which the master key wraps; and keyed hashes.

Whoever destroys a wrapped key has destroyed everything that was sealed with it.
"""

import base64
import hmac
import os
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.errors import SealBroken, UnsafeKey
from app.settings import KEY_BYTES, Settings

FORMAT = b"\x01"
NONCE_BYTES = 12  # the length that GCM is made for; random, as each key seals a handful of records
KEY_ID_BYTES = 8


class Sealer(Protocol):
    """What the service needs of a key store."""

    def new_key(self, owner: str) -> bytes:
        """A fresh key for the request `owner`, wrapped."""
        ...

    def seal(self, wrapped: bytes, owner: str, part: str, clear: bytes) -> bytes:
        """Seal `clear` so that it opens only as that part of that request."""
        ...

    def open(self, wrapped: bytes, owner: str, part: str, sealed: bytes) -> bytes:
        """Open what `seal` made; raises SealBroken."""
        ...

    def fingerprint(self, purpose: str, value: str) -> str:
        """A keyed hash, in hex: equal for equal values, and useless without the key."""
        ...


class LocalSealer:
    """Seals with a master key that this process holds."""

    def __init__(self, master: bytes) -> None:
        if len(master) != KEY_BYTES:
            raise UnsafeKey(f"The master key must have {KEY_BYTES} bytes.")
        self._wrapping = AESGCM(_derive(master, b"r2f wrapping key"))
        self._hashing = _derive(master, b"r2f hashing key")
        # Says which master key wrapped a key, so that rotation can find its own.
        self._key_id = sha256(b"r2f key id" + master).digest()[:KEY_ID_BYTES]

    def new_key(self, owner: str) -> bytes:
        """See Sealer."""
        nonce = os.urandom(NONCE_BYTES)
        locked = self._wrapping.encrypt(nonce, secrets.token_bytes(KEY_BYTES), _bound(owner, "key"))
        return FORMAT + self._key_id + nonce + locked

    def seal(self, wrapped: bytes, owner: str, part: str, clear: bytes) -> bytes:
        """See Sealer."""
        nonce = os.urandom(NONCE_BYTES)
        return FORMAT + nonce + self._unwrap(wrapped, owner).encrypt(nonce, clear, _bound(owner, part))

    def open(self, wrapped: bytes, owner: str, part: str, sealed: bytes) -> bytes:
        """See Sealer."""
        if sealed[:1] != FORMAT:
            raise SealBroken("A sealed record has an unknown format.")
        nonce, locked = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            return self._unwrap(wrapped, owner).decrypt(nonce, locked, _bound(owner, part))
        except (InvalidTag, ValueError) as error:
            raise SealBroken from error

    def fingerprint(self, purpose: str, value: str) -> str:
        """See Sealer."""
        return hmac.digest(self._hashing, f"{purpose}\x00{value}".encode(), "sha256").hex()

    def _unwrap(self, wrapped: bytes, owner: str) -> AESGCM:
        head = FORMAT + self._key_id
        if wrapped[: len(head)] != head:
            raise SealBroken("A key was wrapped by another master key.")
        nonce, locked = wrapped[len(head) : len(head) + NONCE_BYTES], wrapped[len(head) + NONCE_BYTES :]
        try:
            return AESGCM(self._wrapping.decrypt(nonce, locked, _bound(owner, "key")))
        except (InvalidTag, ValueError) as error:
            raise SealBroken from error


def load_sealer(settings: Settings) -> LocalSealer:
    """The sealer with the master key of the settings, or else of the data folder, made there if need be."""
    if settings.master_key is not None:
        return LocalSealer(base64.b64decode(settings.master_key.get_secret_value()))
    path = settings.master_key_path
    if not path.exists():
        _generate(path)
    if path.stat().st_mode & 0o077:
        raise UnsafeKey("The master key file must be readable by its owner only (chmod 600).")
    return LocalSealer(base64.b64decode(path.read_bytes()))


def _generate(path: Path) -> None:
    """Write a new key; of two processes that start at once, one wins and both read its key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(draft)
    except FileExistsError:
        return
    finally:
        draft.unlink()


def _derive(master: bytes, info: bytes) -> bytes:
    """One key for each use."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(master)


def _bound(owner: str, part: str) -> bytes:
    """The associated data that ties a sealed record to its place."""
    return f"r2f:{owner}:{part}".encode()
