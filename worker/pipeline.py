"""The whole way of a deletion: views → neighbours → unlearning → compression → evaluation. Knows no database."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from app import adapters
from app.methods import Method
from app.models import Outcome, Stage
from app.report import Report
from app.schemas import DeletionRequest, PassageTarget, Retain
from worker import asking, reporting
from worker.asking import Asked, Told
from worker.baselines.catalogue import BASELINES
from worker.baselines.task import NoExamplesError, Unlearned, Unlearner
from worker.costs import Costs
from worker.errors import Diverged, NoAdapter, NonFinite, NoStep, NothingToKeep, PromptTooLong
from worker.loading import Loaded
from worker.r2f import adapter, fidelity, neighbours
from worker.r2f.about import chances, claims_about
from worker.r2f.calibration import neighbour_curvature
from worker.r2f.config import Config
from worker.r2f.decoder import depth_of
from worker.r2f.evaluate import set_exam
from worker.r2f.examples import Example
from worker.r2f.finetuning import DivergedError
from worker.r2f.forgetting import Forgetting
from worker.r2f.gradients import drawn_factors
from worker.r2f.knowledge import Knowledge, probe, rooms
from worker.r2f.language import PromptTooLongError
from worker.r2f.linearise import FirstOrder, Linearise, NonFiniteGradientError
from worker.r2f.losses import unlearning_loss
from worker.r2f.neighbours import OWN, Neighbour
from worker.r2f.path import Path, walk
from worker.r2f.quantisation import Merged
from worker.r2f.telling import told_by
from worker.r2f.text import Prompt, find_answer, holds
from worker.r2f.views import Fact, Passage, Views, fact_views, passage_views
from worker.serving import as_served, judge, shrink
from worker.unlearning import Protection, task_of


class Checkpoint(Protocol):
    """Records progress, and raises when the run must end (cancelled, or the lease is lost)."""

    def __call__(self, stage: Stage, fraction: float) -> None: ...


@dataclass(frozen=True)
class Result:
    """What a deletion came to; ``adapter`` is the PEFT folder, None where the fact is not known."""

    outcome: Outcome
    report: Report
    adapter: Mapping[str, bytes] | None


def run(request: DeletionRequest, loaded: Loaded, checkpoint: Checkpoint) -> Result:
    """Compute, compress and judge a forget adapter.

    Raises:
        PipelineError: it cannot be done.
        Exception: whatever ``checkpoint`` raises, from between two steps.
    """
    with told_plainly(), as_served(loaded, request.options.merged) as (there, merged):
        return _run(request, there, checkpoint, merged)


@contextmanager
def told_plainly() -> Iterator[None]:
    """The method's own errors as what a deletion fails with.

    Raises:
        PipelineError: it cannot be done.
    """
    try:
        yield
    except PromptTooLongError as error:
        raise PromptTooLong(PromptTooLong.__doc__) from error
    except NoExamplesError as error:
        raise NothingToKeep(NothingToKeep.__doc__) from error
    except DivergedError as error:
        raise Diverged(Diverged.__doc__) from error
    except NonFiniteGradientError as error:
        raise NonFinite(NonFinite.__doc__) from error


def _run(request: DeletionRequest, loaded: Loaded, checkpoint: Checkpoint, merged: Merged | None) -> Result:
    config, costs = config_of(request, loaded), Costs(loaded.lm.device)
    with costs.stage(Stage.VIEWS):
        checkpoint(Stage.VIEWS, 0)
        asked = ask_about(request, loaded, config, checkpoint)
        views = propose_views(asked.targets, loaded, config, lambda share: checkpoint(Stage.VIEWS, 0.2 + 0.1 * share))
        known = probe(loaded.lm, views, config, lambda share: checkpoint(Stage.VIEWS, share))
    if not known.examples:
        return Result(Outcome.NOT_KNOWN, asked.told_in(reporting.not_known(loaded, config, known, costs)), None)
    with costs.stage(Stage.NEIGHBOURS):
        checkpoint(Stage.NEIGHBOURS, 0)
        kept = protect(asked.targets, request.retain, loaded, config)
        for view in (*known.held_out, *views.reversed):
            loaded.lm.encode(loaded.lm.render(view.prompt))  # what is too long to be judged by is said before the work
    with costs.stage(Stage.UNLEARNING):
        checkpoint(Stage.UNLEARNING, 0)
        if config.method == Method.R2F:
            linearise = Linearise(loaded.lm, loaded.decoder, config)
            walked = unlearn(loaded, kept, known, linearise, config, checkpoint, merged)
        else:
            walked = compare(loaded, kept, known, BASELINES[Method(config.method)], config, checkpoint)
    with costs.stage(Stage.COMPRESSION):
        checkpoint(Stage.COMPRESSION, 0)
        small, compression = shrink(loaded, kept.curvature, walked, config, merged)
    with costs.stage(Stage.EVALUATION):
        checkpoint(Stage.EVALUATION, 0)
        audit = decode_audit(loaded, known.examples, config)
        checkpoint(Stage.EVALUATION, 0.1)
        exam = set_exam(loaded.lm, known, views.reversed, kept.held_out, loaded.judge_drift, config.neighbours)
        checkpoint(Stage.EVALUATION, 0.5)
        after = judge(loaded, exam, small, merged)
    served = loaded.served
    files = adapter.adapter_files(
        small,
        loaded.lm.sites,
        config.adapter_rank,
        model=served.id,
        revision=served.revision,
        digest=loaded.model_digest,
        merged=config.merged,
    )
    adapters.validate(files, served.id)
    report = reporting.forgotten(
        loaded, config, request.thresholds, known, exam, after, walked, compression, audit, costs, adapter.sha256(files)
    )
    return Result(Outcome.FORGOTTEN, asked.told_in(report), files)


def config_of(request: DeletionRequest, loaded: Loaded) -> Config:
    """The method's settings for a request."""
    options = request.options
    return Config(
        method=options.method.value,
        seed=options.seed,
        views=options.views,
        sketch_rank=loaded.card.sketch_rank,
        adapter_rank=options.adapter_rank,
        max_rounds=options.max_rounds,
        audit=options.audit,
        merged=options.merged,
    )


def ask_about(request: DeletionRequest, loaded: Loaded, config: Config, checkpoint: Checkpoint) -> Asked:
    """What must go, with what the model says of somebody in the place of a target that names them."""
    lm = loaded.lm
    return asking.ask(
        request.targets,
        lambda name: claims_about(
            lm, partial(chances, lm), name, config, lambda share: checkpoint(Stage.VIEWS, 0.2 * share)
        ),
    )


def propose_views(
    targets: Sequence[Told], loaded: Loaded, config: Config, progress: Callable[[float], None] = lambda share: None
) -> Views:
    """Views of every target; ``progress`` is called with the share of the targets done, and may raise to stop."""
    views = Views((), (), ())
    for index, target in enumerate(targets):
        progress(index / len(targets))
        if isinstance(target, PassageTarget):
            views = views.plus(passage_views(index, Passage(target.text, target.spans[0]), loaded.embedder))
        else:
            fact = Fact(target.prompt, (target.answer, *target.aliases), tuple(target.paraphrases))
            views = views.plus(fact_views(index, fact, loaded.lm, loaded.embedder, config, loaded.paraphraser))
    return views


def protect(targets: Sequence[Told], kept: Sequence[Retain], loaded: Loaded, config: Config) -> Protection:
    """Neighbours to judge, and the model's curvature with the other neighbours in it."""
    facts = asking.facts(targets)
    forgotten = [answer for fact in facts for answer in fact.answers]
    retain = [Neighbour(Prompt(each.prompt), (each.answer,) if each.answer else (), OWN) for each in kept]
    near = neighbours.propose(facts, retain, loaded.embedder, config)
    said = loaded.lm.replies([neighbour.prompt for neighbour in near.curvature], config.neighbour_tokens)
    stay = [
        (neighbour.prompt, reply)
        for neighbour, reply in zip(near.curvature, said, strict=True)
        if neighbours.may_stay(neighbour, reply, forgotten)
    ]
    prompts = [prompt for prompt, _ in stay]
    pairs = (loaded.lm.whole_reply(prompt, reply) for prompt, reply in stay)
    examples = [example for example in pairs if example]
    if not examples:
        return Protection(near.held_out, loaded.curvature, (), ())
    own = neighbour_curvature(loaded.lm, examples, config.neighbour_rank, config.seed)
    curvature = loaded.curvature.plus(own, config.neighbour_weight)
    return Protection(near.held_out, curvature, tuple(prompts), tuple(examples))


def decode_audit(loaded: Loaded, examples: Sequence[Example], config: Config) -> fidelity.Audit | None:
    """The decoder against the exact gradient that the path begins with, if it is asked for."""
    if not config.audit:
        return None
    factors = drawn_factors(loaded.lm.sites, config.sketch_rank, config.seed, loaded.lm.device)
    made = fidelity.Reconstructions(loaded.decoder, loaded.card.ridge, factors, depth_of(loaded.lm.sites))
    views = next(Forgetting.of(loaded.lm, examples, whole=True).parts())  # long views: as many as one pass takes
    loss = unlearning_loss(config.loss, loaded.lm.encode)
    return fidelity.audit(loaded.lm, [made], partial(views.differentiate, loaded.lm, loss))


def leaking(loaded: Loaded, known: Knowledge, config: Config, checkpoint: Checkpoint) -> Callable[[], list[Example]]:
    """Asks the model as it is then the training views again, and gives the replies that still hold an answer."""

    def leaks() -> list[Example]:
        checkpoint(Stage.UNLEARNING, 0.9)
        # the views whose reply held the answer: the others had nothing to leak
        asked = [view for view, reply in zip(known.training, known.replies, strict=True) if holds(reply, view.answers)]
        room = rooms(loaded.lm, [view.answers for view in asked], config.reply_tokens)
        replies = loaded.lm.replies([view.prompt for view in asked], room)
        found = (
            loaded.lm.example(view.prompt, reply, view.answers, view.target)
            for view, reply in zip(asked, replies, strict=True)
            if find_answer(reply, view.answers)
        )
        return [told_by(example, known.examples) for example in found if example]

    return leaks


def unlearn(
    loaded: Loaded,
    kept: Protection,
    known: Knowledge,
    linearise: FirstOrder,
    config: Config,
    checkpoint: Checkpoint,
    merged: Merged | None = None,
) -> Path:
    """Walk the path, beside the weights or merged into rounded ones; views whose reply still leaks join in."""
    walked = walk(
        loaded.lm,
        linearise,
        kept.curvature,
        loaded.search_drift.drift,
        known.examples,
        leaking(loaded, known, config, checkpoint),
        config,
        lambda share: checkpoint(Stage.UNLEARNING, share),
        merged,
    )
    if not walked.steps:
        raise NoStep(NoStep.__doc__)
    return walked


def compare(
    loaded: Loaded, kept: Protection, known: Knowledge, unlearner: Unlearner, config: Config, checkpoint: Checkpoint
) -> Path:
    """The update of a method other than R2F."""
    leaks = leaking(loaded, known, config, checkpoint)
    task = task_of(loaded, known, kept, leaks, config, lambda share: checkpoint(Stage.UNLEARNING, share))
    done = unlearner(task)
    if not isinstance(done, Unlearned):
        raise NoAdapter(NoAdapter.__doc__)
    if not done.update:
        raise NoStep(NoStep.__doc__)
    return Path(done.update, done.steps, task.forget)
