"""What stages take, each for itself."""

import mmap
import sys

import pytest
import torch

from worker.costs import Costs

LARGE = 300_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_the_peak_of_a_stage_is_its_own():
    costs = Costs(torch.device("cpu"))
    # from the system: an allocator may have so much at hand already
    with costs.stage("large"), mmap.mmap(-1, LARGE) as memory:
        memory.write(bytes(LARGE))
    with costs.stage("small"):
        torch.ones(10)
    peak = {cost.stage: cost.peak_memory_bytes for cost in costs.stages}
    assert peak["large"] - peak["small"] > LARGE / 2
