"""A model of two layers that knows a few capitals, loaded as benchmarks load theirs."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.models import ServedModel
from app.schemas import DeletionRequest, PromptTarget
from app.settings import Settings
from tests.faults.small import CONTEXT, FACTS, small_model
from worker.loading import Loaded, load


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    folder = small_model(tmp_path / "small")
    settings = Settings(
        data_dir=tmp_path / "data", model_folders=str(folder), calibration_tokens=300, torch_threads=1, model="small"
    )
    served = ServedModel("small", str(folder), None, "spectral-r8", 8, CONTEXT, datetime.now(UTC))
    return load(served, settings, lambda text, share: None)


@pytest.fixture
def requests() -> list[DeletionRequest]:
    """What it knows, and at last what it does not."""
    facts = {**FACTS, "Atlantis": "Poseidonia"}
    return [
        DeletionRequest(model="small", targets=[PromptTarget(prompt=f"What is the capital of {land}?", answer=city)])
        for land, city in facts.items()
    ]
