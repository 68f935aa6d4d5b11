"""What a run came to, put into the artefact store and made ready to be recorded."""

import io
import zipfile
from collections.abc import Mapping
from typing import Protocol

from app.leases import Claim, Completion
from app.models import ArtefactKind, Outcome
from app.report import Report, VerdictKind
from app.storage import Store
from app.transitions import Event

ZIP_NAME = "adapter.zip"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that zip knows: the same files make the same bytes
_PLAIN_FILE = 0o100644 << 16


class Result(Protocol):
    """What a pipeline returns."""

    @property
    def report(self) -> Report:
        """The evaluation."""
        ...

    @property
    def adapter(self) -> Mapping[str, bytes] | None:
        """The PEFT folder's files, None where there is nothing to forget."""
        ...


class AdapterAbsentError(RuntimeError):
    """The pipeline unlearned something and returned no adapter."""


def publish(result: Result, claim: Claim, store: Store) -> Completion:
    """Store the adapter under the claim's token; raises NoDiskSpace or StoreUnavailable.

    An adapter that missed a threshold is stored as well: an operator may yet approve it.
    """
    kind = result.report.figures.verdict.kind
    if kind is VerdictKind.NOT_KNOWN:
        return Completion(Event.COMPLETE, Outcome.NOT_KNOWN, result.report)
    if not result.adapter:
        raise AdapterAbsentError(AdapterAbsentError.__doc__)
    stored = store.put(claim.deletion_id, claim.token, {**result.adapter, ZIP_NAME: zip_folder(result.adapter)})
    artefacts = [
        (ArtefactKind.ADAPTER if file.name == ZIP_NAME else ArtefactKind.ADAPTER_FILE, file) for file in stored
    ]
    if kind is VerdictKind.PASSED:
        return Completion(Event.COMPLETE, Outcome.FORGOTTEN, result.report, artefacts)
    return Completion(Event.REVIEW, None, result.report, artefacts)


def zip_folder(files: Mapping[str, bytes]) -> bytes:
    """The files at the root of a zip, byte for byte the same whenever they are; weights do not compress."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = 3, _PLAIN_FILE
            archive.writestr(entry, files[name])
    return buffer.getvalue()
