"""The methods that Recover-to-Forget is compared with, run on a deletion's own material."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from app.methods import Method
from worker.baselines.catalogue import BASELINES
from worker.baselines.task import Task
from worker.loading import Loaded
from worker.r2f.config import Config
from worker.r2f.curvature import Curvature
from worker.r2f.examples import Example
from worker.r2f.knowledge import Knowledge, some_of_each
from worker.r2f.neighbours import Neighbour
from worker.r2f.text import Prompt, holds


@dataclass(frozen=True)
class Protection:
    """What must stay: neighbours that are only judged, and what the methods may see of the others."""

    held_out: tuple[Neighbour, ...]
    curvature: Curvature  # the model's own, with the seen neighbours in it
    prompts: tuple[Prompt, ...]  # of the seen neighbours
    examples: tuple[Example, ...]  # the model's own replies to them


def task_of(
    loaded: Loaded,
    known: Knowledge,
    protection: Protection,
    leaks: Callable[[], list[Example]],
    config: Config,
    progress: Callable[[float], None],
) -> Task:
    """What every method is given; the generic prompts are those that bound R2F's path, never the judged ones."""
    lm = loaded.lm
    said = dict(zip(known.training, known.replies, strict=True))
    told = some_of_each([view for view, reply in said.items() if holds(reply, view.answers)], config.views)
    # a target that was never said greedily, and is known all the same, is asked for as well
    silent = {example.target for example in known.examples} - {view.target for view in told}
    views = (*told, *some_of_each([view for view in known.training if view.target in silent], config.views))
    replies = (lm.whole_reply(view.prompt, said[view], view.target) for view in told)
    generic = loaded.search_drift
    return Task(
        lm=lm,
        prompts=tuple(view.prompt for view in views),
        forget=known.examples,
        replies=tuple(example for example in replies if example),
        retain=(*protection.examples, *generic_replies(loaded)),
        retain_prompts=(*protection.prompts, *generic.prompts),
        curvature=protection.curvature,
        drift=generic.drift,
        embed=loaded.embedder,
        leaks=leaks,
        config=config,
        progress=progress,
    )


def generic_replies(loaded: Loaded) -> list[Example]:
    """The model's own replies to the generic prompts that bound the path, whole."""
    generic = loaded.search_drift
    pairs = (loaded.lm.whole_reply(p, reply) for p, reply in zip(generic.prompts, generic.replies, strict=True))
    return [example for example in pairs if example]


def settings_of(method: Method) -> Mapping[str, str | int | float | bool | None]:
    """A method's own settings, flat, for the report; none for R2F, whose settings are the deletion's."""
    if method is Method.R2F:
        return {}
    return flattened(asdict(BASELINES[method]))  # type: ignore[call-overload]


def flattened(settings: Mapping[str, object], prefix: str = "") -> dict[str, str | int | float | bool | None]:
    """Nested settings with dotted names."""
    flat: dict[str, str | int | float | bool | None] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}.")
        elif value is None or isinstance(value, str | int | float | bool):
            flat[prefix + name] = value
    return flat
