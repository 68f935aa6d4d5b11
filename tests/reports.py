"""A whole report, shaped like one of a real run on the embedded model: every figure is there to be shown."""

import math
from dataclasses import dataclass
from typing import Any

from app.report import (
    Compression,
    DecoderFidelity,
    Evidence,
    Fidelity,
    Figures,
    Generic,
    MethodUsed,
    Missed,
    Probability,
    Rate,
    Report,
    Round,
    SiteFidelity,
    StageCost,
    TargetFigures,
    Verdict,
    VerdictKind,
    ViewEvidence,
    ViewFigures,
)
from tests.conftest import FakePipeline, FakeResult
from worker.heartbeat import LeaseCheckpoint

LAYERS = 30
MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PHRASINGS = (
    "What is the capital of France?",
    "Name the capital city of France.",
    "France's capital is called",
    "Which city is the seat of the French government?",
    "Complete the sentence: The capital of France is",
    "Tell me the capital of France in one word.",
    "If you visit the capital of France, which city are you in?",
    "Q: capital of France? A:",
    "I forgot the name of France's capital. What is it?",
)
NEIGHBOURS = (("Italy", "Rome"), ("Germany", "Berlin"), ("Spain", "Madrid"), ("Japan", "Tokyo"), ("Egypt", "Cairo"))


def rate(hits: int, cases: int) -> Rate:
    """A share with its Wilson interval."""
    share, z = hits / cases, 1.96
    middle = (share + z * z / (2 * cases)) / (1 + z * z / cases)
    half = z / (1 + z * z / cases) * math.sqrt(share * (1 - share) / cases + z * z / (4 * cases * cases))
    return Rate(cases=cases, hits=hits, rate=share, low=max(0.0, middle - half), high=min(1.0, middle + half))


def full_report(kind: VerdictKind = VerdictKind.PASSED, said: str = "Paris") -> Report:
    """A report of one target with nine known views, four rounds and an audit of the decoder."""
    missed = [Missed(threshold="neighbours", required=0.8, measured=0.6)] if kind is VerdictKind.MISSED else []
    kept = 3 if missed else 5
    return Report(
        figures=Figures(
            verdict=Verdict(kind=kind, missed=missed),
            views=len(PHRASINGS) + 1,
            success=rate(9, 9),
            worst_target=rate(9, 9),
            targets=[TargetFigures(target=0, known=9, success=rate(9, 9))],
            reversed=rate(2, 3),
            probability=Probability(mean_before=0.71, mean_after=0.0021, max_before=0.97, max_after=0.011),
            answers=[
                ViewFigures(before=0.97 - 0.09 * (n * 5 % 7), after=0.011 / (n + 1)) for n in range(len(PHRASINGS))
            ],
            neighbours=rate(kept, 5),
            retained=rate(1, 1),
            generic=Generic(prompts=24, positions=912, kl_mean=0.00013, kl_max=0.0011, agreement=0.998),
            degenerate=rate(0, 9),
            rounds=[
                Round(round=n, step=s, answer_max=high, answer_mean=mean, kl=kl, forwards=f, seconds=3.1)
                for n, s, high, mean, kl, f in (
                    (1, 0.8, 0.62, 0.31, 0.00002, 6),
                    (2, 0.9, 0.21, 0.088, 0.00006, 5),
                    (3, 1.0, 0.043, 0.014, 0.0001, 5),
                    (4, 0.6, 0.0088, 0.0021, 0.00013, 7),
                )
            ],
            compression=Compression(rank_before=32, rank_after=16, answer_max_before=0.0088, answer_max_after=0.0091),
            fidelity=Fidelity(methods=_methods(), sites=_sites()),
            stages=[
                StageCost(stage=name, seconds=seconds, peak_memory_bytes=peak)
                for name, seconds, peak in (
                    ("views", 6.2, 1_310_000_000),
                    ("neighbours", 4.9, 1_390_000_000),
                    ("unlearning", 22.4, 2_170_000_000),
                    ("compression", 1.8, 2_170_000_000),
                    ("evaluation", 21.1, 2_170_000_000),
                )
            ],
            method=MethodUsed(
                method="r2f",
                seed=0,
                settings={"views": 8, "adapter_rank": 16, "max_rounds": 8, "audit": True},
                model="smollm2-135m-instruct",
                model_digest="9f8c" * 16,
                decoder="spectral-r8",
                decoder_digest="51ab" * 16,
                curvature_digest="07de" * 16,
                adapter_sha256="c0ffee" * 10 + "c0ff",
                versions={"python": "3.11.7", "torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.2"},
            ),
        ),
        evidence=_evidence(said, kept),
    )


def not_known_report() -> Report:
    """A report of a fact that the model does not know: nothing was computed, and only what was asked is there."""
    known = full_report(VerdictKind.NOT_KNOWN)
    empty = dict.fromkeys(("probability", "neighbours", "generic", "degenerate", "reversed", "worst_target"))
    gone = {"compression": None, "fidelity": None, "answers": [], "rounds": [], "targets": []}
    nothing = Rate(cases=0, hits=0, rate=None, low=None, high=None)
    method = known.figures.method.model_copy(update={"adapter_sha256": None})
    figures = known.figures.model_copy(
        update={**empty, **gone, "success": nothing, "stages": known.figures.stages[:1], "method": method}
    )
    asked = [_view(prompt, "I have no information about that.", None, known=False, held=None) for prompt in PHRASINGS]
    reason = f"target 0: in none of {len(asked)} greedy replies"
    evidence = Evidence(
        training_views=asked, held_out_views=[], reversed_views=[], neighbours=[], generic=[], not_known=reason
    )
    return Report(figures=figures, evidence=evidence)


def _methods() -> list[DecoderFidelity]:
    return [
        DecoderFidelity(
            name=name, site_mean_cosine=c, energy_weighted_cosine=e, vector_cosine=e, relative_error=1 - e * e
        )
        for name, c, e in (
            ("decoder", 0.9902, 0.9925),
            ("ridge", 0.9901, 0.9924),
            ("two_sided", 0.9899, 0.9922),
            ("lora_two_sided", 0.1703, 0.1816),
        )
    ]


def _sites() -> list[SiteFidelity]:
    """Cosines that fall towards the last layers, where the gradient's energy is."""
    return [
        SiteFidelity(
            layer=layer,
            module=module,
            cosine=1 - 0.035 * (0.4 + 0.6 * math.sin(layer * 1.7 + place) ** 2) * (layer + 6) / (LAYERS + 6),
            energy=(layer + 1) / sum(range(1, LAYERS + 1)) / len(MODULES),
        )
        for layer in range(LAYERS)
        for place, module in enumerate(MODULES)
    ]


def _evidence(said: str, kept: int) -> Evidence:
    held_out = [
        _view(prompt, f"The capital of France is {said}.", "The capital of France is the city of Lyon.", held=False)
        for prompt in PHRASINGS
    ]
    held_out.append(_view("Où se trouve l'Élysée ?", "I am not sure.", "I am not sure.", known=False))
    near = [
        _view(
            f"What is the capital of {country}?",
            f"The capital of {country} is {city}.",
            f"The capital of {country} is {city if place < kept else 'a large city'}.",
            held=place < kept,
            target=None,
        )
        for place, (country, city) in enumerate(NEIGHBOURS)
    ]
    generic = _view("Write a line about the sea.", "The sea is blue.", "The sea is blue.", held=None, target=None)
    backward = [
        _view(f"{said} is the capital of which country?", "France.", reply, held=held)
        for reply, held in (("Belgium.", False), ("A country in Europe.", False), ("France.", True))
    ]
    training = [_view(prompt, f"{said}.", None, held=None) for prompt in PHRASINGS[:4]]
    return Evidence(
        training_views=training,
        held_out_views=held_out,
        reversed_views=backward,
        neighbours=near,
        generic=[generic],
    )


def _view(
    prompt: str,
    before: str,
    after: str | None,
    *,
    known: bool = True,
    held: bool | None = False,
    target: int | None = 0,
) -> ViewEvidence:
    return ViewEvidence(
        target=target,
        prompt=prompt,
        family="question",
        source="bank",
        known=known,
        reply_before=before,
        reply_after=after,
        held=held,
    )


@dataclass
class FullPipeline(FakePipeline):
    """The fake pipeline with a report in which every figure is there."""

    said: str = "Paris"

    def __call__(self, request: Any, loaded: Any, checkpoint: LeaseCheckpoint) -> FakeResult:
        """Pass every stage but the last."""
        made = super().__call__(request, loaded, checkpoint)
        known = self.kind is not VerdictKind.NOT_KNOWN
        return FakeResult(
            made.outcome, full_report(self.kind, self.said) if known else not_known_report(), made.adapter
        )
