"""What stages take, each for itself."""

import sys

import pytest
import torch

from worker.costs import Costs


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_the_peak_of_a_stage_is_its_own():
    costs = Costs(torch.device("cpu"))
    with costs.stage("large"):
        large = torch.ones(300_000_000, dtype=torch.uint8)
        del large
    with costs.stage("small"):
        torch.ones(10)
    peak = {cost.stage: cost.peak_memory_bytes for cost in costs.stages}
    assert peak["large"] - peak["small"] > 200_000_000
