"""The artefact store: a few bytes under a path, put there whole or not at all."""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from app.errors import ArtefactMissing, NoDiskSpace
from app.settings import Settings

CHUNK = 256 * 1024
_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Stored:
    """A file in the store."""

    name: str
    path: str
    sha256: str
    size: int


class Store(Protocol):
    """What the service needs of a store; `owner` is a deletion id, `token` its lease token."""

    def put(self, owner: str, token: int, files: Mapping[str, bytes]) -> list[Stored]:
        """Store all files under `{owner}/{token}/`, durably, or none; raises NoDiskSpace."""
        ...

    def read(self, path: str, start: int, stop: int) -> Iterator[bytes]:
        """The bytes [start, stop) of a file; raises ArtefactMissing before the first of them."""
        ...

    def delete(self, owner: str, below: int) -> None:
        """Delete what was stored for a deletion under lower tokens; a higher one may be somebody else's by now."""
        ...


class FolderStore:
    """A store in a local folder, or on a volume that the API and the workers share."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, owner: str, token: int, files: Mapping[str, bytes]) -> list[Stored]:
        """See Store: written beside its place, synced, and renamed into it."""
        place = self.root / owner / str(token)
        draft = place.with_name(f".{token}.{secrets.token_hex(8)}")
        try:
            draft.mkdir(parents=True, mode=0o700)
            for name, content in files.items():
                _write(draft / name, content)
            _sync(draft)
            if place.exists():  # this very lease was publishing when something failed
                shutil.rmtree(place)
            draft.rename(place)
            for folder in (place.parent, self.root):
                _sync(folder)
        except OSError as error:
            shutil.rmtree(draft, ignore_errors=True)
            if error.errno in _FULL:
                raise NoDiskSpace from error
            raise
        return [
            Stored(name, f"{owner}/{token}/{name}", sha256(content).hexdigest(), len(content))
            for name, content in files.items()
        ]

    def read(self, path: str, start: int, stop: int) -> Iterator[bytes]:
        """See Store."""
        try:
            file = (self.root / path).open("rb")
        except FileNotFoundError as error:
            raise ArtefactMissing from error

        def chunks() -> Iterator[bytes]:
            with file:
                file.seek(start)
                left = stop - start
                while left > 0 and (chunk := file.read(min(CHUNK, left))):
                    left -= len(chunk)
                    yield chunk

        return chunks()

    def delete(self, owner: str, below: int) -> None:
        """See Store; drafts go too, their workers have lost."""
        folder = self.root / owner
        if not folder.exists():
            return
        for entry in folder.iterdir():
            if int(entry.name.lstrip(".").partition(".")[0]) < below:
                shutil.rmtree(entry, ignore_errors=True)
        with contextlib.suppress(OSError):  # there is something left
            folder.rmdir()


def load_store(settings: Settings) -> FolderStore:
    """The store that the settings name."""
    return FolderStore(settings.artefacts)


def _write(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on disk."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Wait until a folder's entries are on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
