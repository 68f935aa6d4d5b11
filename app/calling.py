"""What a command says, and how it ends, when the service behind the client could not do what was asked."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.client.errors import ClientError, KeyRefused, Unreachable
from app.supervisor import CommandFailed, ServerUnreachable

SCOPE_MISSING = "scope-missing"  # the key is known, and may not do this
WHERE = "Commands take it from R2F_KEY, or from the file that --key-file names."


class RequestRefused(CommandFailed):
    """The service refused the request."""


class KeyNotAccepted(CommandFailed):
    """The service did not accept the API key."""

    code = 7


@contextmanager
def plainly() -> Iterator[None]:
    """Turn the client's errors into messages with exit codes."""
    try:
        yield
    except Unreachable as error:
        raise ServerUnreachable(str(error)) from error
    except KeyRefused as error:
        hint = "" if error.kind == SCOPE_MISSING else f"\n{WHERE}"
        raise KeyNotAccepted(f"{error}{hint}") from error
    except ClientError as error:
        raise RequestRefused(str(error)) from error
