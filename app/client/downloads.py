"""A download that can be taken up again: what lies on disk, what is missing, and whether the whole is right."""

import hashlib
import os
import re
import zipfile
from pathlib import Path
from typing import BinaryIO

import httpx

from app.client.errors import BrokenDownload, NotUnderstood
from app.client.records import Download

_ETAG = re.compile(r'^"([0-9a-f]{64})"$')


class Partial:
    """A file that is being downloaded, kept beside its place until it is whole."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.sha256 = ""  # until a first answer has named it
        self.size = 0

    @property
    def path(self) -> Path:
        """Where it grows. Named after the digest: what is left of another file is never continued."""
        return self.target.with_name(f".{self.target.name}.{self.sha256[:16]}.part")

    @property
    def here(self) -> int:
        """Bytes on disk so far."""
        return self.path.stat().st_size if self.sha256 and self.path.exists() else 0

    @property
    def whole(self) -> bool:
        """Whether nothing is missing."""
        return bool(self.sha256) and self.here >= self.size

    def headers(self) -> dict[str, str]:
        """What asks for the rest, of this very file and no other, as it is and not compressed."""
        plain = {"Accept-Encoding": "identity"}
        return plain | ({"Range": f"bytes={self.here}-", "If-Range": f'"{self.sha256}"'} if self.here else {})

    def open(self, response: httpx.Response) -> BinaryIO | None:
        """The file to write the answer to; None when a part of it is here already and only the rest is wanted.

        Raises:
            NotUnderstood: the answer does not name the digest and the size of the whole.
        """
        known, self.sha256 = self.sha256, _digest(response)
        self.size = _size(response)
        self.target.parent.mkdir(parents=True, exist_ok=True)
        if response.status_code == httpx.codes.PARTIAL_CONTENT:
            return self.path.open("ab")
        return self.path.open("wb") if known or not self.here else None

    def finish(self) -> Download:
        """Check the whole, make it durable and put it in its place; raises BrokenDownload."""
        with self.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        if digest != self.sha256:
            self.path.unlink()
            raise BrokenDownload
        self.path.replace(self.target)
        return Download(self.target, digest, self.size)


def _digest(response: httpx.Response) -> str:
    """The sha256 of the whole file, which is the service's ETag."""
    etag = _ETAG.match(response.headers.get("etag", ""))
    if etag is None:
        raise NotUnderstood("The service did not name the digest of the file.")
    return etag[1]


def _size(response: httpx.Response) -> int:
    """The size of the whole file, in bytes."""
    header = "content-range" if response.status_code == httpx.codes.PARTIAL_CONTENT else "content-length"
    size = str(response.headers.get(header, "")).rpartition("/")[2]
    if not size.isdecimal():
        raise NotUnderstood("The service did not name the size of the file.")
    return int(size)


def unpack(archive: Path, folder: Path) -> list[str]:
    """Unpack an adapter's zip and return the names of its files; raises BrokenDownload."""
    try:
        with zipfile.ZipFile(archive) as files:
            names = sorted(files.namelist())
            if any(Path(name).name != name or name == ".." or "\\" in name for name in names):
                raise BrokenDownload(f"{archive} holds a file that would leave its folder.")
            files.extractall(folder)
            return names
    except zipfile.BadZipFile as error:
        raise BrokenDownload(f"{archive} is not a zip file.") from error
