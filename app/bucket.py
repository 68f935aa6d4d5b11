"""The artefact store in a bucket of an S3-compatible service.

Address and credentials come from the environment as every S3 client reads them: AWS_ENDPOINT, AWS_REGION,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ALLOW_HTTP; or from the machine's role where there are none.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from hashlib import sha256

import obstore
import structlog
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from app.errors import ArtefactMissing, StoreUnavailable
from app.storage import CHUNK, Stored, token_of

_NOTHING = "no-deletion"
_log = structlog.get_logger(__name__)


class BucketStore:
    """A store under `s3://bucket/prefix`. An object appears whole; the files of a run count once its row is written."""

    def __init__(self, url: str) -> None:
        self._bucket = S3Store.from_url(
            url,
            config={"checksum_algorithm": "SHA256"},  # the service refuses what did not arrive as it was sent
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=20)},
        )

    def put(self, owner: str, token: int, files: Mapping[str, bytes]) -> list[Stored]:
        """See app.storage.Store; raises StoreUnavailable, after which nothing is left as far as the bucket answers."""
        self._remove(owner, lambda found: found == token)  # this very lease was publishing when something failed
        try:
            with _told():
                for name, content in files.items():
                    obstore.put(self._bucket, f"{owner}/{token}/{name}", content, use_multipart=False)
        except StoreUnavailable:
            self._remove(owner, lambda found: found == token)
            raise
        return [
            Stored(name, f"{owner}/{token}/{name}", sha256(content).hexdigest(), len(content))
            for name, content in files.items()
        ]

    def read(self, path: str, start: int, stop: int) -> Iterator[bytes]:
        """See app.storage.Store; raises StoreUnavailable too, before the first byte or between two chunks."""
        if start == stop:  # a range of no bytes cannot be asked for
            self.size(path)
            return iter(())
        with _told(FileNotFoundError):
            found = obstore.get(self._bucket, path, options={"range": (start, stop)})

        def chunks() -> Iterator[bytes]:
            with _told():
                for chunk in found.stream(min_chunk_size=CHUNK):
                    yield bytes(chunk)

        return chunks()

    def size(self, path: str) -> int:
        """See app.storage.Store; raises StoreUnavailable."""
        with _told(FileNotFoundError):
            return int(obstore.head(self._bucket, path)["size"])

    def delete(self, owner: str, below: int) -> None:
        """See app.storage.Store; what cannot be deleted now is found when files and rows are compared."""
        self._remove(owner, lambda token: token < below)

    def older(self, than: datetime) -> Iterator[tuple[str, int]]:
        """See app.storage.Store; raises StoreUnavailable."""
        newest: dict[tuple[str, int], datetime] = {}
        with _told():
            for page in obstore.list(self._bucket):
                for entry in page:
                    owner, token = _place(entry["path"])
                    if token is None:
                        continue
                    held = owner, token
                    newest[held] = max(newest.get(held, entry["last_modified"]), entry["last_modified"])
        return (held for held, at in newest.items() if at < than)

    def drop(self, owner: str, token: int) -> None:
        """See app.storage.Store."""
        self._remove(owner, lambda found: found == token)

    def check(self) -> None:
        """See app.storage.Store: the bucket lists what no deletion ever stored."""
        with _told():
            next(iter(obstore.list(self._bucket, _NOTHING)), None)

    def _remove(self, owner: str, which: Callable[[int], bool]) -> None:
        try:
            paths = [entry["path"] for page in obstore.list(self._bucket, owner) for entry in page]
            tokens = {path: _place(path)[1] for path in paths}
            gone = [path for path, token in tokens.items() if token is not None and which(token)]
            if gone:
                obstore.delete(self._bucket, gone)
        except (BaseError, OSError) as error:
            _log.warning("files could not be deleted", deletion_id=owner, reason=type(error).__name__)


def _place(path: str) -> tuple[str, int | None]:
    """Owner and token of an object; None for what is not ours."""
    owner, _, rest = path.partition("/")
    return owner, token_of(rest.partition("/")[0])


@contextmanager
def _told(missing: type[Exception] | tuple[()] = ()) -> Iterator[None]:
    """Turn what the bucket's client raises into this service's own: ArtefactMissing for `missing`, StoreUnavailable."""
    try:
        yield
    except missing as error:
        raise ArtefactMissing from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise StoreUnavailable("The store refuses these credentials.") from error
    except FileNotFoundError as error:
        raise StoreUnavailable("The bucket does not exist.") from error
    except (BaseError, OSError) as error:
        raise StoreUnavailable from error
