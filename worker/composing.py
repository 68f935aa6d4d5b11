"""One adapter of many, and everything that each of them was judged on asked again with it in force."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import safetensors.torch

from app import adapters
from app.report import Evidence, Rate, TargetFigures, Verdict, ViewEvidence
from app.schemas import Thresholds
from app.tensors import METADATA, header
from worker import reporting
from worker.loading import Loaded
from worker.r2f import adapter
from worker.r2f.adaptation import Adaptation, Update
from worker.r2f.composition import compose
from worker.r2f.config import Config
from worker.r2f.drift import Drift
from worker.r2f.evaluate import NEIGHBOUR_TOKENS, VIEW_TOKENS, same_start
from worker.r2f.knowledge import rooms
from worker.r2f.language import LanguageModel
from worker.r2f.lowrank import LowRank
from worker.r2f.neighbours import OWN
from worker.r2f.text import Form, Prompt, holds
from worker.statistics import rate


@dataclass(frozen=True)
class Part:
    """A deletion's adapter, and what was asked when it was judged; without evidence nothing can be asked again."""

    deletion: str
    files: Mapping[str, bytes]
    evidence: Evidence | None


@dataclass(frozen=True)
class Judged:
    """A deletion with the composition in force."""

    deletion: str
    success: Rate  # held-out views that the base model answers and the composition does not
    neighbours: Rate  # that the base model answers and the composition too
    retained: Rate  # the same of what its request retains
    verdict: Verdict  # by the thresholds that a deletion has by default, each target on its own


@dataclass(frozen=True)
class Composition:
    """The composed adapter and its judgement."""

    files: Mapping[str, bytes]
    rank: int
    exact: bool
    parts: tuple[Judged, ...]
    drift: Drift


def compose_adapters(loaded: Loaded, parts: Sequence[Part], rank: int) -> Composition:
    """Compose adapters of one base model into one of a rank at most, the smallest that servers take and they fit in.

    Raises:
        adapters.AdapterInvalid: one of them is none, or is not of this base model's weights.
    """
    lm, served = loaded.lm, loaded.served
    updates = [_update(part, loaded) for part in parts]
    made = compose(updates, lm.sites, loaded.curvature, Config().damping, rank)
    needed = max(one.rank for one in made.update.values())
    taken = min(each for each in adapter.RANKS if each >= needed)
    files = adapter.adapter_files(
        made.update, lm.sites, taken, model=served.id, revision=served.revision, digest=loaded.model_digest
    )
    adapters.validate(files, served.id)
    with Adaptation(lm.model, lm.sites) as adaptation:
        adaptation.use(made.update)
        drift = loaded.judge_drift.drift.measure(lm)
        judged = tuple(_judged(loaded, part, drift) for part in parts)
    return Composition(files, taken, made.exact, judged, drift)


def _update(part: Part, loaded: Loaded) -> Update:
    try:
        adapters.validate(part.files, loaded.served.id)
        return update_of(part.files, loaded.lm, loaded.model_digest)
    except adapters.AdapterInvalid as error:
        raise adapters.AdapterInvalid(f"of {part.deletion}: {error}") from error


def update_of(files: Mapping[str, bytes], lm: LanguageModel, digest: str) -> Update:
    """The update that a valid adapter makes.

    Raises:
        adapters.AdapterInvalid: it was made for other weights, for other sites than the model's, or to be merged.
    """
    content = files[adapter.WEIGHTS]
    about = header(io.BytesIO(content), len(content))[METADATA]
    if adapter.MERGED in about:
        raise adapters.AdapterInvalid(
            "it was made to be merged into the model and rounded with it, and holds nowhere else (options.merged)"
        )
    if about["base_digest"] != digest:
        raise adapters.AdapterInvalid("it was made for other weights than this model's")
    # as they were stored: a model of half precision computes with them rounded, but what is composed is not
    tensors = {name: part.to(lm.device) for name, part in safetensors.torch.load(content).items()}
    update = {}
    for site in lm.sites:
        name = f"base_model.model.{site.name}"
        a, b = tensors.pop(f"{name}.lora_A.weight", None), tensors.pop(f"{name}.lora_B.weight", None)
        if a is None or b is None or (b.shape[0], a.shape[1]) != (site.d_out, site.d_in):
            raise adapters.AdapterInvalid(f"it does not fit {site.name}")
        update[site.name] = LowRank(b, a)
    if tensors:
        raise adapters.AdapterInvalid(f"the model has no site for {min(tensors)}")
    return update


def _judged(loaded: Loaded, part: Part, drift: Drift) -> Judged:
    """Ask a deletion's held-out views and neighbours of the model as it is now, and judge it as its report did."""
    views = [view for view in part.evidence.held_out_views if view.known and view.answers] if part.evidence else []
    near = [neighbour for neighbour in part.evidence.neighbours if neighbour.known] if part.evidence else []
    said = loaded.lm.replies(
        [Prompt(each.prompt, Form(each.form)) for each in (*views, *near)],
        [*rooms(loaded.lm, [view.answers for view in views], VIEW_TOKENS), *[NEIGHBOUR_TOKENS] * len(near)],
        guesses=[each.reply_after for each in (*views, *near)],  # most say what they said with one adapter
    )
    gone = [(view, not holds(reply, view.answers)) for view, reply in zip(views, said, strict=False)]
    kept = [(each, _still(each, reply)) for each, reply in zip(near, said[len(views) :], strict=True)]
    asked = {view.target for view in part.evidence.held_out_views} if part.evidence else set()
    targets = []
    for number in sorted(number for number in asked if number is not None):
        success = _share(there for view, there in gone if view.target == number)
        targets.append(TargetFigures(target=number, known=success.cases, success=success))
    neighbours = _share(there for each, there in kept if each.source != OWN)
    retained = _share(there for each, there in kept if each.source == OWN)
    generic = reporting.generic_figures(len(loaded.judge_drift.drift.batch.ids), drift)
    found = reporting.verdict(Thresholds(), targets, neighbours, retained, generic)
    return Judged(part.deletion, _share(there for _, there in gone), neighbours, retained, found)


def _still(neighbour: ViewEvidence, reply: str) -> bool:
    """Whether a neighbour is answered as before; one without a known answer has to begin as it did."""
    return holds(reply, neighbour.answers) if neighbour.answers else same_start(reply, neighbour.reply_before)


def _share(cases: Iterable[bool]) -> Rate:
    seen = list(cases)
    return rate(seen.count(True), len(seen))
