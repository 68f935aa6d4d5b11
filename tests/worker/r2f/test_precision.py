"""The method in half precision and on a GPU: a round lowers p(answer) there too, along a direction in 32 bits."""

import pytest
import torch

from tests.tiny import word_tokenizer
from tests.worker.r2f.conftest import tiny
from worker.baselines.gradients import ExactGradient
from worker.baselines.lora_gradient import two_sided
from worker.r2f.adaptation import Adaptation, plus
from worker.r2f.calibration import neighbour_curvature
from worker.r2f.compression import compress
from worker.r2f.config import Config
from worker.r2f.decoder import Decoder, SpectralFilter
from worker.r2f.examples import Example
from worker.r2f.forgetting import Forgetting
from worker.r2f.language import LanguageModel
from worker.r2f.linearise import Linearise

EXAMPLES = [Example((5, 9, 3, 40 + n, 8, 61), (3, 4), (8, 61), ((8,), (61,))) for n in range(3)]
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@pytest.mark.parametrize(
    ("device", "dtype"),
    [
        ("cpu", torch.bfloat16),
        pytest.param("cuda", torch.float32, marks=GPU),
        pytest.param("cuda", torch.bfloat16, marks=GPU),
    ],
)
def test_a_round_lowers_the_answer(device: str, dtype: torch.dtype) -> None:
    lm = LanguageModel(tiny("llama").to(device, dtype), word_tokenizer(f"w{n}" for n in range(3, 97)), 48)
    config = Config(sketch_rank=4)
    views = Forgetting.of(lm, EXAMPLES)
    curvature = neighbour_curvature(lm, [Example((7, 20, 33, 12), (1, 2), (33, 12), ((), ()))], 8, seed=0)
    for other in (ExactGradient(lm), Linearise(lm, two_sided, config, align=False)):
        assert all(part.left.isfinite().all() for part in other(views).gradient.values())
    at = Linearise(lm, Decoder(SpectralFilter()), config)(views)
    direction = curvature.precondition(lm.sites, at.gradient, config.damping)
    assert {part.left.dtype for part in direction.values()} == {torch.float32}
    size = sum(float(part.inner(part)) for part in direction.values()) ** 0.5
    update = compress(plus({}, direction, 20 / size), lm.sites, curvature, config.damping, config.adapter_rank)
    with Adaptation(lm.model, lm.sites) as adaptation:
        adaptation.use(update)
        after = views.measure(lm)
    assert (after < 0.9 * at.answer).all()
