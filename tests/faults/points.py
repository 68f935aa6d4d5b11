"""Places in a worker at which something can be made to happen: a file in a folder arms one, and it goes off once.

The tester arms a point and waits until it has gone off; the worker passes `reach` at every point. The file is taken by
a rename, so that of several workers exactly one is struck.
"""

import errno
import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from pathlib import Path

STAGES = ("views", "neighbours", "unlearning", "compression", "evaluation", "publishing")
WRITES = ("write-1", "write-2", "write-3", "write-4", "rename")
POINTS = ("claimed", *STAGES, *WRITES, "stored", "finishing", "finished")


class Action(StrEnum):
    """What happens at a point."""

    KILL = "kill"  # SIGKILL: no clean-up of any kind
    STOP = "stop"  # SIGSTOP: the whole process stands still, heartbeat and all
    FULL = "full"  # the disk is full
    TEAR = "tear"  # half of the file is written, then SIGKILL
    HOLD = "hold"  # wait here until released, deaf to everything


class Points:
    """The armed points of a folder."""

    def __init__(
        self, folder: Path, between_writes: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> None:
        """`between_writes`: a process that stood still with SQLite's lock in its hand would stop all the others."""
        self._folder = folder
        self._between_writes = between_writes
        folder.mkdir(exist_ok=True)

    def arm(self, point: str, action: Action) -> None:
        """Make it happen when the next worker comes by."""
        draft = self._folder / f".{point}"
        draft.write_text(action)
        draft.rename(self._folder / point)

    def struck(self, point: str) -> tuple[int, float] | None:
        """Process id and time (seconds since 1970) of the worker that the point has struck."""
        try:
            pid, at = (self._folder / f"{point}.struck").read_text().split()
        except FileNotFoundError:
            return None
        return int(pid), float(at)

    def clear(self) -> None:
        """Disarm everything, and let go whoever holds."""
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)

    def reach(self, point: str) -> Action | None:
        """In the worker: do what the point is armed with; returns what only the caller can do."""
        taken = self._folder / f".{point}.{os.getpid()}"
        try:
            (self._folder / point).rename(taken)
        except FileNotFoundError:
            return None
        action = Action(taken.read_text())
        taken.write_text(f"{os.getpid()} {time.time()}")
        struck = taken.rename(self._folder / f"{point}.struck")
        if action is Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        elif action is Action.STOP:
            with self._between_writes():
                os.kill(os.getpid(), signal.SIGSTOP)
        elif action is Action.FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        while action is Action.HOLD and struck.exists():
            time.sleep(0.02)
        return action
