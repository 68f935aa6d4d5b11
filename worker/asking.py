"""What must go, one thing at a time: of a passage every span, of a person what the model says, told in the report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app import report as r
from app.schemas import PassageTarget, PromptTarget, Target
from worker.r2f.about import Claim, Claims
from worker.r2f.views import Fact

Told = PromptTarget | PassageTarget


@dataclass(frozen=True)
class Asked:
    """The targets of a request, each with what must go, and the evidence for those that the model was asked for."""

    targets: tuple[Told, ...]
    evidence: tuple[r.ClaimEvidence, ...]
    nobody: tuple[int, ...]  # places in the request of people of whom nothing was known

    def told_in(self, report: r.Report) -> r.Report:
        """The report with what was found about people in its evidence."""
        if report.evidence is None or not (self.evidence or self.nobody):
            return report
        found: dict[str, object] = {"claims": list(self.evidence)}
        if report.figures.verdict.kind is r.VerdictKind.NOT_KNOWN:
            unknown = [f"targets/{n}: nothing is said again and again of this person alone" for n in self.nobody]
            found["not_known"] = "; ".join(filter(None, [*unknown, report.evidence.not_known]))
        return report.model_copy(update={"evidence": report.evidence.model_copy(update=found)})


def ask(wanted: Sequence[Target], claims_of: Callable[[str], Claims]) -> Asked:
    """Put every span of a passage in its place, and what the model says of somebody in that of a target naming them.

    A target is taught and judged by views of its own, so each of these is one: what is said of a patient's name must
    not stand for the diagnosis in the same letter.
    """
    targets: list[Told] = []
    evidence: list[r.ClaimEvidence] = []
    nobody: list[int] = []
    for place, target in enumerate(wanted):
        if isinstance(target, PassageTarget):
            targets += [PassageTarget(text=target.text, spans=[span]) for span in dict.fromkeys(target.spans)]
            continue
        if isinstance(target, PromptTarget):
            targets.append(target)
            continue
        claims = claims_of(target.about)
        evidence += [_evidence(place, claim, number) for number, claim in enumerate(claims.known, start=len(targets))]
        evidence += [_evidence(place, claim, None) for claim in claims.others]
        targets += [_target(claim) for claim in claims.known]
        if not claims.known:
            nobody.append(place)
    return Asked(tuple(targets), tuple(evidence), tuple(nobody))


def facts(targets: Sequence[Told]) -> list[Fact]:
    """What neighbours are looked for around: the spans of a passage share it, and so its neighbours."""
    found: dict[str, Fact] = {}
    for target in targets:
        if isinstance(target, PassageTarget):
            known = found.get(target.text, Fact(target.text, ()))
            found[target.text] = Fact(target.text, (*known.answers, *target.spans))
    return [
        *found.values(),
        *(
            Fact(one.prompt, (one.answer, *one.aliases), tuple(one.paraphrases))
            for one in targets
            if isinstance(one, PromptTarget)
        ),
    ]


def _target(claim: Claim) -> PromptTarget:
    return PromptTarget(prompt=claim.question, answer=claim.answer, paraphrases=list(claim.others))


def _evidence(place: int, claim: Claim, target: int | None) -> r.ClaimEvidence:
    return r.ClaimEvidence(
        place=place,
        target=target,
        kind=claim.kind,
        question=claim.question,
        reply=claim.reply,
        answer=claim.answer,
        agreement=claim.agreement,
        probability=claim.likely,
        elsewhere=claim.elsewhere,
    )
