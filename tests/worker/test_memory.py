"""A worker tells how much memory it holds, without importing what is slow to import."""

import mmap
import re
import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient

from tests.conftest import FakePipeline, wired, worker_on
from worker.memory import device, held

BALLAST = 50_000_000


def test_memory_is_that_of_this_process():
    before = held()
    with mmap.mmap(-1, BALLAST) as memory:  # from the system: an allocator may have so much at hand already
        memory.write(bytes(BALLAST))
        assert held() >= before + BALLAST * 0.9


def test_asking_does_not_import_torch():
    script = "import sys; from worker.memory import held; assert held() > 0; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@dataclass
class Cuda:
    """What is asked of torch.cuda."""

    used: bool

    def is_initialized(self) -> bool:
        return self.used

    def memory_reserved(self) -> int:
        return 3_000_000_000

    def current_device(self) -> int:
        return 1

    def get_device_name(self) -> str:
        return "NVIDIA H200"


def test_a_gpu_counts_once_it_is_in_use(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    gpu = Cuda(used=False)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=gpu))
    assert device() == "cpu"
    assert held() != gpu.memory_reserved()
    gpu.used = True
    worker_on(wired(client), FakePipeline())
    (worker,) = client.get("/readyz").json()["workers"]
    assert (worker["device"], worker["memory_bytes"]) == ("cuda:1 NVIDIA H200", 3_000_000_000)
    assert '3 GB<br><span class="faint">on the GPU' in client.get("/ui/workers").text


def test_operators_see_it(client: TestClient):
    bench = worker_on(wired(client), FakePipeline())
    bench.heartbeat.stop()
    (worker,) = client.get("/readyz").json()["workers"]
    assert worker["memory_bytes"] > 1_000_000
    assert re.search(r"\d [MG]B<", client.get("/ui/workers").text)
