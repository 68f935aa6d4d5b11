"""The artefact store: a few bytes under a path, put there whole or not at all."""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from app.errors import ArtefactMissing, NoDiskSpace, StoreUnavailable
from app.folders import make_private
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
        """Store all files under `{owner}/{token}/`, durably, or none; raises NoDiskSpace or StoreUnavailable."""
        ...

    def read(self, path: str, start: int, stop: int) -> Iterator[bytes]:
        """The bytes [start, stop) of a file; raises ArtefactMissing before the first of them."""
        ...

    def size(self, path: str) -> int:
        """A file's length in bytes; raises ArtefactMissing."""
        ...

    def delete(self, owner: str, below: int) -> None:
        """Delete what was stored for a deletion under lower tokens; a higher one may be somebody else's by now."""
        ...

    def older(self, than: datetime) -> Iterator[tuple[str, int]]:
        """Owner and token of everything that was stored before that moment."""
        ...

    def drop(self, owner: str, token: int) -> None:
        """Delete what was stored under this very token."""
        ...

    def check(self) -> None:
        """Raise StoreUnavailable where files could be neither stored nor read."""
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
            make_private(draft)
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
            raise StoreUnavailable from error
        return [
            Stored(name, f"{owner}/{token}/{name}", sha256(content).hexdigest(), len(content))
            for name, content in files.items()
        ]

    def read(self, path: str, start: int, stop: int) -> Iterator[bytes]:
        """See Store."""
        place = self.root / path
        if not place.is_file():
            raise ArtefactMissing

        def chunks() -> Iterator[bytes]:
            # Opened with the first chunk: a caller who has gone before that must leave no open file behind.
            with place.open("rb") as file:
                file.seek(start)
                left = stop - start
                while left > 0 and (chunk := file.read(min(CHUNK, left))):
                    left -= len(chunk)
                    yield chunk

        return chunks()

    def size(self, path: str) -> int:
        """See Store."""
        place = self.root / path
        if not place.is_file():
            raise ArtefactMissing
        return place.stat().st_size

    def delete(self, owner: str, below: int) -> None:
        """See Store; drafts go too, their workers have lost."""
        self._remove(owner, lambda token: token < below)

    def older(self, than: datetime) -> Iterator[tuple[str, int]]:
        """See Store; drafts count as what they were to become."""
        for place in (place for folder in _entries(self.root) for place in _entries(folder)):
            token = _token(place)
            if token is not None and _is_older(place, than):
                yield place.parent.name, token

    def drop(self, owner: str, token: int) -> None:
        """See Store."""
        self._remove(owner, lambda found: found == token)

    def check(self) -> None:
        """See Store: the folder can be written, or made where it will be."""
        place = next(place for place in (self.root, *self.root.absolute().parents) if place.exists())
        if not place.is_dir() or not os.access(place, os.R_OK | os.W_OK | os.X_OK):
            raise StoreUnavailable("The folder of the artefacts cannot be written.")

    def _remove(self, owner: str, which: Callable[[int], bool]) -> None:
        folder = self.root / owner
        with contextlib.suppress(OSError):  # not there, or there is something left
            for entry in _entries(folder):
                token = _token(entry)
                if token is not None and which(token):
                    shutil.rmtree(entry, ignore_errors=True)
            folder.rmdir()


def load_store(settings: Settings) -> Store:
    """The store that the settings name."""
    if not settings.artefact_url:
        return FolderStore(settings.artefacts)
    from app.bucket import BucketStore  # only those who have a bucket wait for its client

    return BucketStore(settings.artefact_url)


def _entries(folder: Path) -> list[Path]:
    """What is in a folder; nothing where there is none, or none any more."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_older(place: Path, than: datetime) -> bool:
    try:
        return place.stat().st_mtime < than.timestamp()
    except FileNotFoundError:  # renamed or deleted meanwhile
        return False


def _token(place: Path) -> int | None:
    """The token in the name of a folder or of a draft of it; None for what is not ours."""
    return token_of(place.name.lstrip(".").partition(".")[0])


def token_of(name: str) -> int | None:
    """The token that a name is; None for one that is none."""
    return int(name) if name.isascii() and name.isdigit() else None


def _write(path: Path, content: bytes) -> None:
    """Write a file, for the owner alone, and wait until it is on disk."""
    path.touch(mode=0o600, exist_ok=False)
    with path.open("wb") as file:
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
