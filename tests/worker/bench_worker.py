"""`celery -A tests.worker.bench_worker worker`: the real worker around a fake pipeline that takes its time."""

import time
from pathlib import Path

from app.models import Stage
from app.settings import Settings
from tests.conftest import FakePipeline, HopelessError
from worker import tasks
from worker.running import Method

celery = tasks.celery
SLOW = "slow"  # a file in the data folder: while it is there, a run stays in its first stage


class SlowPipeline(FakePipeline):
    """Waits in its first stage, checking as it goes, for as long as the file says so."""

    def __call__(self, request, loaded, checkpoint):
        flag = Path(Settings().data_dir) / SLOW
        checkpoint(Stage.VIEWS, 0.1)
        while flag.exists():
            time.sleep(0.05)
            checkpoint(Stage.VIEWS, 0.5)
        return super().__call__(request, loaded, checkpoint)


def _load(model, settings, notice):
    notice("loading nothing", 0.5)
    return None, Method(SlowPipeline(), HopelessError)


tasks._load = _load
