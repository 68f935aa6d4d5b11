"""When a call is sent again, and for how long."""

import time
from collections.abc import Callable
from typing import Any

import tenacity

from app.client.errors import ClientError

FIRST, LONGEST = 0.2, 5.0  # seconds between two tries: doubling, with some chance in it


def policy(seconds: float, *, repeatable: bool) -> dict[str, Any]:
    """Tenacity's arguments: try a repeatable call again while what is wrong may pass, for so many seconds."""
    stop = tenacity.stop_after_delay(seconds) if repeatable else tenacity.stop_after_attempt(1)
    return {"stop": stop, "wait": _wait, "retry": tenacity.retry_if_exception(_passing), "reraise": True}


_spread = tenacity.wait_random_exponential(multiplier=FIRST, max=LONGEST)


def _wait(state: tenacity.RetryCallState) -> float:
    """As long as the service asks for, else a little longer each time."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, ClientError) else None
    return asked if asked is not None else _spread(state)


def _passing(error: BaseException) -> bool:
    return isinstance(error, ClientError) and error.passing


class Patience:
    """How long nothing has been heard, while something is being followed."""

    def __init__(self, seconds: float, waiting: Callable[[], None] | None = None) -> None:
        """
        Args:
            waiting: called once whenever the service falls silent.
        """
        self._seconds = seconds
        self._waiting = waiting
        self.heard()

    def heard(self) -> None:
        """There was a sign of life."""
        self._since, self._pause, self._told = time.monotonic(), FIRST, False

    def next_pause(self, error: ClientError) -> float:
        """Seconds to wait before the next try; raises the error when it will not pass, or has lasted too long."""
        if not error.passing or time.monotonic() - self._since > self._seconds:
            raise error
        if self._waiting is not None and not self._told:
            self._told = True
            self._waiting()
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST)
        return error.retry_after or pause
