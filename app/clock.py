"""Time: now in UTC, calendar months, and ids that sort by it."""

import calendar
import secrets
import time
from datetime import UTC, datetime

DELETION_ID = r"^del_[0-9a-f]{32}$"


def now() -> datetime:
    """The present moment, in UTC."""
    return datetime.now(UTC)


def months_after(moment: datetime, months: int = 1) -> datetime:
    """Calendar months later; the last day of a shorter month stands for a day that it does not have."""
    years, month = divmod(moment.month - 1 + months, 12)
    year, month = moment.year + years, month + 1
    day = min(moment.day, calendar.monthrange(year, month)[1])
    return moment.replace(year=year, month=month, day=day)


def new_deletion_id() -> str:
    """The id of a new deletion."""
    return new_id("del_")


def new_id(prefix: str) -> str:
    """A UUIDv7 (RFC 9562, method 3: milliseconds, then their fraction in 12 bits) in hex, behind a prefix."""
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = (rest << 12) // 1_000_000
    value = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | secrets.randbits(62)
    return f"{prefix}{value:032x}"
