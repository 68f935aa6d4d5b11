"""Where this process computes and how much memory it holds, for whoever plans how many fit on a machine."""

import sys
from typing import Any

import psutil

# Asked for by a thread that runs before, and while, torch is imported: it must neither import it nor wait for it.


def held() -> int:
    """Bytes reserved on the GPU once there is one in use, else the process's resident memory."""
    cuda = _cuda_in_use()
    return int(psutil.Process().memory_info().rss) if cuda is None else int(cuda.memory_reserved())


def device() -> str:
    """The GPU in use by its name, such as `cuda:0 NVIDIA H200`, else `cpu`; true once the model is loaded."""
    cuda = _cuda_in_use()
    return "cpu" if cuda is None else f"cuda:{cuda.current_device()} {cuda.get_device_name()}"[:64]


def _cuda_in_use() -> Any:
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    return cuda if cuda is not None and getattr(cuda, "is_initialized", bool)() else None
