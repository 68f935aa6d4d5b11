"""`celery -A benchmarks.load_worker worker`: the real worker around a pipeline that computes nothing for a while.

It claims, beats, records progress and publishes as the real one does, and leaves the processor to what is measured.
"""

import time
from typing import Any

from app.models import ServedModel, Stage
from app.settings import Settings
from tests.conftest import FakePipeline, HopelessError
from worker import tasks
from worker.running import Method

SECONDS = 0.5  # of a deletion
celery = tasks.celery


def _load(model: ServedModel, settings: Settings, notice: Any) -> tuple[None, Method]:
    pause = SECONDS / (len(Stage) - 1)
    return None, Method(FakePipeline(meanwhile=lambda stage: time.sleep(pause)), HopelessError)


tasks._load = _load
