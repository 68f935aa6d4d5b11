"""HTTP ranges and validators (RFC 9110): which bytes of a file a request wants."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass

from app.errors import RangeNotSatisfiable

_RANGE = re.compile(r"^bytes=\s*(\d{0,18})-(\d{0,18})\s*$", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Span:
    """The bytes [start, stop) of a file, and whether that is less than was there."""

    start: int
    stop: int
    partial: bool


def wanted_span(headers: Mapping[str, str], etag: str, size: int) -> Span:
    """What to send: the range asked for, if it is one and of this very file; else everything.

    Several ranges at once and malformed ones are ignored, as the RFC allows.
    """
    whole = Span(0, size, partial=False)
    match = _RANGE.match(headers.get("range", ""))
    if match is None or not any(match.groups()) or headers.get("if-range", etag).strip() != etag:
        return whole
    first, last = match.groups()
    if first and last and int(first) > int(last):
        return whole
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if start >= size or (not first and int(last) == 0):
        raise RangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    return Span(start, stop, partial=True)


def not_modified(headers: Mapping[str, str], etag: str) -> bool:
    """Whether the caller has this very file already (weak comparison, as If-None-Match wants)."""
    header = headers.get("if-none-match")
    if header is None:
        return False
    return header.strip() == "*" or etag in (tag.strip().removeprefix("W/") for tag in header.split(","))


def repr_digest(sha256_hex: str) -> str:
    """The Repr-Digest header (RFC 9530) of a whole file."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256_hex)).decode()}:"
