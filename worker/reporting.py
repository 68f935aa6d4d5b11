"""From what was measured to the report: figures without personal data, and the evidence behind them."""

import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING

from app import report as r
from app.methods import Method
from app.schemas import Thresholds
from worker.costs import Costs
from worker.loading import Loaded
from worker.r2f import fidelity
from worker.r2f.config import Config
from worker.r2f.drift import Drift
from worker.r2f.evaluate import Exam, Replies, Reply
from worker.r2f.knowledge import Knowledge
from worker.r2f.neighbours import OWN
from worker.r2f.path import Path
from worker.r2f.text import degenerate, holds
from worker.r2f.views import View
from worker.statistics import rate
from worker.unlearning import settings_of

if TYPE_CHECKING:
    from worker.serving import Compressed

_NONE = rate(0, 0)
_PACKAGES = ("recover-to-forget", "torch", "transformers", "peft")


def not_known(loaded: Loaded, config: Config, known: Knowledge, costs: Costs) -> r.Report:
    """The report of a fact that the model neither says nor finds likely."""
    figures = r.Figures(
        verdict=r.Verdict(kind=r.VerdictKind.NOT_KNOWN, missed=[]),
        views=len(known.held_out),
        success=_NONE,
        worst_target=None,
        targets=[],
        reversed=None,
        probability=None,
        neighbours=None,
        generic=None,
        degenerate=None,
        rounds=[],
        compression=None,
        fidelity=None,
        stages=costs.stages,
        method=_method(loaded, config, None),
    )
    asked = [_view(view, Reply(text, False), None) for view, text in zip(known.training, known.replies, strict=True)]
    evidence = r.Evidence(
        training_views=asked,
        held_out_views=[],
        reversed_views=[],
        neighbours=[],
        generic=[],
        not_known="; ".join(known.unknown),
    )
    return r.Report(figures=figures, evidence=evidence)


def forgotten(
    loaded: Loaded,
    config: Config,
    thresholds: Thresholds,
    known: Knowledge,
    exam: Exam,
    after: Replies,
    walked: Path,
    compressed: "Compressed",
    audit: fidelity.Audit | None,
    costs: Costs,
    adapter_sha256: str,
) -> r.Report:
    """The report of an adapter."""
    pairs = list(zip(exam.held_out, exam.base.held_out, after.held_out, strict=True))
    targets = [_target(n, pairs) for n in sorted({view.target for view in known.training})]
    success = _success([(before, now) for _, before, now in pairs])
    backward = list(zip(exam.base.reversed, after.reversed, strict=True))
    neighbours, retained = _kept(exam, after, own=False), _kept(exam, after, own=True)
    forgot = [now for _, before, now in pairs if before.hit]
    generic = generic_figures(len(exam.drift.batch.ids), after.drift)
    worst = min((t.success for t in targets), key=lambda s: -1.0 if s.rate is None else s.rate)
    figures = r.Figures(
        verdict=verdict(thresholds, targets, neighbours, retained, generic),
        views=len(exam.held_out),
        success=success,
        worst_target=worst,
        targets=targets,
        reversed=_success(backward) if backward else None,
        probability=_probability(exam, after),
        answers=[
            r.ViewFigures(before=before, after=now) for before, now in zip(exam.base.answer, after.answer, strict=True)
        ],
        neighbours=neighbours,
        retained=retained if retained.cases else None,
        generic=generic,
        degenerate=rate(sum(degenerate(reply.text) for reply in forgot), len(forgot)),
        rounds=[r.Round(round=n, **asdict(step)) for n, step in enumerate(walked.steps, start=1)],
        compression=_compression(compressed),
        fidelity=_fidelity(loaded, audit) if audit else None,
        stages=costs.stages,
        method=_method(loaded, config, adapter_sha256),
    )
    return r.Report(figures=figures, evidence=_evidence(known, exam, after))


def _compression(compressed: "Compressed") -> r.Compression:
    return r.Compression(
        rank_before=compressed.rank_before,
        rank_after=compressed.rank_after,
        answer_max_before=compressed.answer_before,
        answer_max_after=compressed.answer_after,
    )


def generic_figures(prompts: int, drift: Drift) -> r.Generic:
    """Drift on so many generic prompts."""
    return r.Generic(prompts=prompts, **asdict(drift))


def _success(pairs: Sequence[tuple[Reply, Reply]]) -> r.Rate:
    """Of the replies that held the answer before, those that no longer do."""
    known = [now for before, now in pairs if before.hit]
    return rate(sum(not now.hit for now in known), len(known))


def _kept(exam: Exam, after: Replies, *, own: bool) -> r.Rate:
    """Of the neighbours that the base model knows, those that are still answered: the request's own, or the others."""
    replies = zip(exam.neighbours, exam.base.neighbours, after.neighbours, strict=True)
    kept = [now.hit for neighbour, before, now in replies if before.hit and (neighbour.source == OWN) is own]
    return rate(sum(kept), len(kept))


def _target(number: int, pairs: Sequence[tuple[View, Reply, Reply]]) -> r.TargetFigures:
    success = _success([(before, now) for view, before, now in pairs if view.target == number])
    return r.TargetFigures(target=number, known=success.cases, success=success)


def _probability(exam: Exam, after: Replies) -> r.Probability | None:
    if not after.answer:
        return None
    before, now = exam.base.answer, after.answer
    return r.Probability(
        mean_before=sum(before) / len(before),
        mean_after=sum(now) / len(now),
        max_before=max(before),
        max_after=max(now),
    )


def verdict(
    wanted: Thresholds,
    targets: Sequence[r.TargetFigures],
    neighbours: r.Rate,
    retained: r.Rate,
    generic: r.Generic,
) -> r.Verdict:
    """Every target must pass on its own; too few views that the base model answers are no evidence."""
    missed = []
    for target in targets:
        if target.success.rate is not None and target.success.rate < wanted.success:
            missed.append(
                r.Missed(
                    threshold=f"success of target {target.target}",
                    required=wanted.success,
                    measured=target.success.rate,
                )
            )
    for name, kept in (("neighbours", neighbours), ("retain", retained)):
        if kept.rate is not None and kept.rate < wanted.neighbours:
            missed.append(r.Missed(threshold=name, required=wanted.neighbours, measured=kept.rate))
    if generic.kl_mean > wanted.generic_kl:
        missed.append(r.Missed(threshold="generic_kl", required=wanted.generic_kl, measured=generic.kl_mean))
    if generic.agreement < wanted.agreement:
        missed.append(r.Missed(threshold="agreement", required=wanted.agreement, measured=generic.agreement))
    if missed:
        return r.Verdict(kind=r.VerdictKind.MISSED, missed=missed)
    few = [
        r.Missed(
            threshold=f"held_out_views of target {target.target}", required=wanted.held_out_views, measured=target.known
        )
        for target in targets
        if target.known < wanted.held_out_views
    ]
    if not neighbours.cases and not retained.cases:
        few.append(r.Missed(threshold="neighbours known", required=1, measured=0))
    if few:
        return r.Verdict(kind=r.VerdictKind.INSUFFICIENT_EVIDENCE, missed=few)
    return r.Verdict(kind=r.VerdictKind.PASSED, missed=[])


def _fidelity(loaded: Loaded, audit: fidelity.Audit) -> r.Fidelity:
    methods = [
        r.DecoderFidelity(name=name, **asdict(fidelity.summarise(list(sites.values()))))
        for name, sites in audit.sites.items()
    ]
    decoded = audit.sites["decoder"]
    energy = sum(site.exact for site in decoded.values())
    places = [
        r.SiteFidelity(
            layer=site.layer,
            module=site.module,
            cosine=decoded[site.name].cosine,
            energy=decoded[site.name].exact / energy if energy else 0.0,
        )
        for site in loaded.lm.sites
    ]
    return r.Fidelity(methods=methods, sites=places)


def _method(loaded: Loaded, config: Config, adapter_sha256: str | None) -> r.MethodUsed:
    settings = {name: value for name, value in asdict(config).items() if name not in ("seed", "method")}
    settings |= {f"{config.method}.{name}": value for name, value in settings_of(Method(config.method)).items()}
    return r.MethodUsed(
        method=config.method,
        seed=config.seed,
        settings=settings,
        model=loaded.served.id,
        model_digest=loaded.model_digest,
        decoder=loaded.card.name,
        decoder_digest=loaded.card.digest,
        curvature_digest=loaded.curvature_digest,
        adapter_sha256=adapter_sha256,
        versions={"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
    )


def _view(view: View, before: Reply, after: Reply | None) -> r.ViewEvidence:
    return r.ViewEvidence(
        target=view.target,
        prompt=view.prompt.text,
        form=view.prompt.form.value,
        answers=list(view.answers),
        family=view.family,
        source=view.source,
        known=before.hit,
        reply_before=before.text,
        reply_after=after.text if after else None,
        held=after.hit if after else None,
    )


def _evidence(known: Knowledge, exam: Exam, after: Replies) -> r.Evidence:
    """Every prompt with the replies before and after."""
    return r.Evidence(
        training_views=[
            _view(view, Reply(text, holds(text, view.answers)), None)
            for view, text in zip(known.training, known.replies, strict=True)
        ],
        held_out_views=[_view(*row) for row in zip(exam.held_out, exam.base.held_out, after.held_out, strict=True)],
        reversed_views=[_view(*row) for row in zip(exam.reversed, exam.base.reversed, after.reversed, strict=True)],
        neighbours=[
            r.ViewEvidence(
                target=None,
                prompt=neighbour.prompt.text,
                form=neighbour.prompt.form.value,
                answers=list(neighbour.answers),
                family="neighbour",
                source=neighbour.source,
                known=before.hit,
                reply_before=before.text,
                reply_after=now.text,
                held=now.hit,
            )
            for neighbour, before, now in zip(exam.neighbours, exam.base.neighbours, after.neighbours, strict=True)
        ],
        generic=[
            r.ViewEvidence(
                target=None,
                prompt=prompt.text,
                family="generic",
                source="bank",
                known=True,
                reply_before=before,
                reply_after=now,
                held=None,
            )
            for prompt, before, now in zip(exam.generic, exam.base.generic, after.generic, strict=True)
        ],
        not_known="; ".join(known.unknown) or None,
    )
