"""Sealed records: AES-256-GCM under a key per request, which a master key wraps; and keyed hashes.

Whoever destroys a wrapped key has destroyed everything that was sealed with it.
"""

import hmac
import os
import secrets
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.errors import SealBroken
from app.masterkeys import FORMAT, NONCE_BYTES, MasterKeys
from app.settings import KEY_BYTES


class Sealer(Protocol):
    """What the service needs of a key store."""

    def new_key(self, owner: str, epoch: str) -> bytes:
        """A fresh key for the request `owner`, wrapped under the master key of that epoch."""
        ...

    def rewrap(self, wrapped: bytes, owner: str, epoch: str) -> bytes:
        """The same key, wrapped under another master key."""
        ...

    def seal(self, wrapped: bytes, owner: str, part: str, clear: bytes) -> bytes:
        """Seal `clear` so that it opens only as that part of that request."""
        ...

    def open(self, wrapped: bytes, owner: str, part: str, sealed: bytes) -> bytes:
        """Open what `seal` made; raises SealBroken."""
        ...

    def derive(self, wrapped: bytes, owner: str, purpose: str) -> bytes:
        """32 bytes that belong to the request, the same each time, and gone with its key."""
        ...

    def fingerprint(self, purpose: str, value: str) -> str:
        """A keyed hash, in hex: equal for equal values, and useless without the key."""
        ...


class Secrets(Protocol):
    """Where the hashing key is kept; it outlives every master key."""

    def secret(self, name: str) -> bytes:
        """The secret of that name."""
        ...


class LocalSealer:
    """Seals with master keys that this process holds."""

    def __init__(self, keys: MasterKeys, secrets: Secrets) -> None:
        self._keys = keys
        self._secrets = secrets

    def new_key(self, owner: str, epoch: str) -> bytes:
        """See Sealer."""
        return self._keys.of(epoch).wrap(owner, secrets.token_bytes(KEY_BYTES))

    def rewrap(self, wrapped: bytes, owner: str, epoch: str) -> bytes:
        """See Sealer."""
        return self._keys.of(epoch).wrap(owner, self._keys.unwrap(owner, wrapped))

    def seal(self, wrapped: bytes, owner: str, part: str, clear: bytes) -> bytes:
        """See Sealer."""
        nonce = os.urandom(NONCE_BYTES)
        key = AESGCM(self._keys.unwrap(owner, wrapped))
        return FORMAT + nonce + key.encrypt(nonce, clear, _bound(owner, part))

    def open(self, wrapped: bytes, owner: str, part: str, sealed: bytes) -> bytes:
        """See Sealer."""
        if sealed[:1] != FORMAT:
            raise SealBroken("A sealed record has an unknown format.")
        nonce, locked = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        key = AESGCM(self._keys.unwrap(owner, wrapped))
        try:
            return key.decrypt(nonce, locked, _bound(owner, part))
        except (InvalidTag, ValueError) as error:
            raise SealBroken from error

    def derive(self, wrapped: bytes, owner: str, purpose: str) -> bytes:
        """See Sealer."""
        return hmac.digest(self._keys.unwrap(owner, wrapped), _bound(owner, purpose), "sha256")

    def fingerprint(self, purpose: str, value: str) -> str:
        """See Sealer."""
        return hmac.digest(self._secrets.secret("hashing"), f"{purpose}\x00{value}".encode(), "sha256").hex()


def _bound(owner: str, part: str) -> bytes:
    """The associated data that ties a sealed record to its place."""
    return f"r2f:{owner}:{part}".encode()
