"""Seconds and peak memory of every stage."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from app.report import StageCost

_RESET, _PEAK = Path("/proc/self/clear_refs"), "5"  # Linux forgets the process's peak: proc(5)


class Costs:
    """Collects what stages take: seconds, and the peak memory of the device (GPU) or of the process (CPU)."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.stages: list[StageCost] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure the block as one stage."""
        cuda = self._device.type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            with suppress(OSError):  # no Linux, or /proc is read-only: then it is the peak since the process began
                _RESET.write_text(_PEAK)
        started = time.perf_counter()
        yield
        seconds = time.perf_counter() - started
        peak = (
            torch.cuda.max_memory_allocated(self._device)
            if cuda
            else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
        )
        self.stages.append(StageCost(stage=str(name), seconds=seconds, peak_memory_bytes=peak))
