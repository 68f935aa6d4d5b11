"""Deletions one after another on one model, composed into one adapter: what is still forgotten, and what it costs.

    r2f bench sequential --data FOLDER [--facts 50] [--rank 64] [--way on_top] [--out FILE.jsonl]
    r2f bench sequential --quick

Two ways to get at the composition. `on_top`: each path is walked on the model as it is with the composition of the
earlier ones in force, and its utility budget counts from there. `apart`: each deletion is computed on the base model,
as deletions of different days on different workers are, and the updates are summed. After each deletion the composition
is asked held-out views of everything deleted so far (at most four of each), and facts that nobody deletes.

The composition is kept beside the rows (FILE-WAY.safetensors), so that an interrupted run goes on.
"""

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import safetensors
import safetensors.torch

from app.charts.drawing import WIDTH, Drawing
from app.charts.picture import png
from app.schemas import DeletionRequest, PromptTarget
from benchmarks.cases import Case, prepare
from benchmarks.facts import BadData
from benchmarks.measures import Row, mean
from benchmarks.runs import NOT_KNOWN, append, attempted, meaning, not_answered, not_known, resume
from worker import pipeline, serving
from worker.loading import Loaded
from worker.r2f.adaptation import Adaptation, Update
from worker.r2f.composition import compose
from worker.r2f.evaluate import VIEW_TOKENS
from worker.r2f.linearise import Linearise
from worker.r2f.lowrank import LowRank
from worker.r2f.text import Form, Prompt, holds
from worker.r2f.views import View

WAYS = ("on_top", "apart")
ASKED = 4  # views of each deleted fact, at most
BYSTANDERS = 24  # known facts that nobody deletes, at most; half of them where there are few
SHOWN = {"earlier": "success on all so far", "bystanders": "other facts kept", "kl": "KL on generic prompts"}
LEFT, RIGHT, PANEL = 58.0, 14.0, 118.0


@dataclass(frozen=True)
class Composition:
    """An update and the numbers of the facts that it forgets, in their order."""

    update: Update
    facts: tuple[int, ...]
    rank: int  # at most

    def save(self, path: Path) -> None:
        """Write it whole or not at all."""
        tensors = {f"{name}.left": part.left.contiguous() for name, part in self.update.items()}
        tensors |= {f"{name}.right": part.right.contiguous() for name, part in self.update.items()}
        fresh = path.with_suffix(".new")
        about = {"facts": " ".join(map(str, self.facts)), "rank": str(self.rank)}
        safetensors.torch.save_file(tensors, fresh, about)
        fresh.replace(path)

    @classmethod
    def load(cls, path: Path, rank: int, done: Mapping[object, bool]) -> "Composition":
        """What was saved; nothing if nothing was.

        Args:
            rank: of this run.
            done: the facts that have a row, and whether they were taken in: not where the deletion failed. The
                composition is saved before its row, so one more may be in it.

        Raises:
            BadData: it belongs to other rows, or to a run of another rank.
        """
        if not path.exists() and not done:
            return cls({}, (), rank)
        if not path.exists():
            raise BadData(f"{path} is missing: it goes with the rows. Give another --out to begin again.")
        with safetensors.safe_open(path, "pt") as file:
            about = file.metadata()
        facts = tuple(int(number) for number in about["facts"].split())
        ahead, behind = set(facts[:-1]) - set(done), {fact for fact, taken in done.items() if taken} - set(facts)
        if int(about["rank"]) != rank or ahead or behind:
            raise BadData(f"{path} is of other rows, or of rank {about['rank']}. Give another --out, or remove it.")
        tensors = safetensors.torch.load_file(path)
        names = dict.fromkeys(name.rpartition(".")[0] for name in tensors)
        return cls({name: LowRank(tensors[f"{name}.left"], tensors[f"{name}.right"]) for name in names}, facts, rank)


def compare(
    loaded: Loaded,
    requests: Sequence[DeletionRequest],
    ways: Sequence[str],
    *,
    wanted: int,
    rank: int,
    out: Path,
    progress: Callable[[float], None],
) -> list[Row]:
    """Delete so many known facts one after another, each way; the rows of all that is in the file."""
    about = meaning(loaded, requests, {"bench": "sequential", "rank": rank})
    rows = resume(out, about, lambda: not_answered(loaded, requests))

    def add(row: Row) -> None:
        rows.append(append(out, row))

    deletable, bystanders = parted(requests, not_known(rows, None))
    lines = []
    for way in ways:
        path = out.with_name(f"{out.stem}-{way}.safetensors")
        done = {row["fact"]: "failed" not in row for row in rows if row["method"] == way}
        lines.append(Line(way, path, Composition.load(path, rank, done)))
    found = 0
    for number in [number for number in deletable if number not in not_known(rows, 0)]:
        if found >= wanted:
            break
        todo = [line for line in lines if not any((row["fact"], row["method"]) == (number, line.way) for row in rows)]
        case = prepare(loaded, requests[number], 0, ()) if todo else None
        if todo and case is None:
            add({"fact": number, "seed": 0, "method": NOT_KNOWN})
            continue
        for line in todo:
            assert case is not None
            row: Row = {"fact": number, "seed": 0, "method": line.way, "count": found + 1}
            row |= line.delete(loaded, case, number)
            earlier = [view for before in rows if before["method"] == line.way for view in _views(before)]
            row |= asked(loaded, line.composition.update, earlier, case.views[:ASKED], bystanders)
            add(row | {"views": [asdict(view) for view in case.views[:ASKED]]})
        found += 1
        progress(found / wanted)
    progress(1.0)
    return rows


def parted(
    requests: Sequence[DeletionRequest], unknown: Collection[int]
) -> tuple[Sequence[int], Sequence[PromptTarget]]:
    """The numbers of known facts that are deleted, and those that nobody deletes; passages are neither.

    Args:
        unknown: those not answered at once. What else turns out not to be known must move no fact.

    Raises:
        BadData: there are not two.
    """
    known = [
        (number, target)
        for number, request in enumerate(requests)
        for target in request.targets[:1]
        if isinstance(target, PromptTarget) and number not in unknown
    ]
    if len(known) < 2:
        raise BadData("Deletions need two facts that the model knows, one to delete and one to keep: see --data.")
    rest = min(BYSTANDERS, len(known) // 2)
    return [number for number, _ in known[:-rest]], [target for _, target in known[-rest:]]


@dataclass
class Line:
    """The deletions of one way, one after another."""

    way: str
    path: Path  # where the composition is kept
    composition: Composition

    def delete(self, loaded: Loaded, case: Case, number: int) -> Row:
        """Take one more deletion in, unless an interrupted run has; what is to be told if it failed."""
        if number in self.composition.facts:
            return {}

        def take_in() -> Row:
            self.composition = deleted(loaded, case, self.composition, number, self.way)
            return {}

        said = attempted(take_in)
        self.composition.save(self.path)  # before its row
        return said


def deleted(loaded: Loaded, case: Case, below: Composition, number: int, way: str) -> Composition:
    """A composition with one more deletion in it."""
    lm, config = loaded.lm, case.config
    with contextlib.ExitStack() as stack:
        if way == "on_top":
            stack.enter_context(Adaptation(lm.model, lm.sites)).use(below.update)
        search = replace(loaded.search_drift, drift=loaded.search_drift.drift.here(lm))
        at = replace(loaded, search_drift=search)
        linearise = Linearise(lm, loaded.decoder, config)
        path = pipeline.unlearn(at, case.kept, case.known, linearise, config, lambda stage, share: None)
        small, _ = serving.shrink(at, case.kept.curvature, path, config)
    parts = [below.update, small] if below.update else [small]
    composed = compose(parts, lm.sites, loaded.curvature, config.damping, below.rank)
    return Composition(composed.update, (*below.facts, number), below.rank)


def asked(
    loaded: Loaded, update: Update, earlier: Sequence[View], own: Sequence[View], bystanders: Sequence[PromptTarget]
) -> Row:
    """What is forgotten and kept with a composition in force."""
    lm, views = loaded.lm, [*earlier, *own]
    with Adaptation(lm.model, lm.sites) as adaptation:
        adaptation.use(update)
        prompts = [*(view.prompt for view in views), *(Prompt(target.prompt) for target in bystanders)]
        said = lm.replies(prompts, VIEW_TOKENS)
        drift = loaded.judge_drift.drift.measure(lm)
    silent = [not holds(reply, view.answers) for view, reply in zip(views, said, strict=False)]
    kept = [
        holds(reply, (target.answer, *target.aliases))
        for target, reply in zip(bystanders, said[len(views) :], strict=True)
    ]
    return {
        "success": mean(silent[len(earlier) :]),
        "earlier": mean(silent),
        "bystanders": mean(kept),
        "kl": drift.kl_mean,
        "agreement": drift.agreement,
        "rank": max((part.rank for part in update.values()), default=0),
    }


def _views(row: Row) -> list[View]:
    """The views that a row says were asked."""
    views: list[View] = []
    for kept in cast(list[dict[str, Any]], row["views"]):
        prompt = Prompt(kept["prompt"]["text"], Form(kept["prompt"]["form"]))
        views.append(View(kept["target"], prompt, tuple(kept["answers"]), kept["family"], kept["source"]))
    return views


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Markdown: the composition after the first, second, fifth, tenth … deletion, each way."""
    done = [row for row in rows if row["method"] != NOT_KNOWN]
    last = {way: max(_count(row) for row in done if row["method"] == way) for way in _ways(done)}
    head = "| way | deletions | failed | rank | this one's views | all views so far | other facts | KL | same token |"
    lines = [head, "|---" * 9 + "|"]
    for row in done:
        way, count = str(row["method"]), _count(row)
        if count in (1, 2, 5) or count % 10 == 0 or count == last[way]:
            failed = sum("failed" in other and _count(other) <= count for other in done if other["method"] == way)
            shares = (f"{row[name]:.3f}" for name in ("success", "earlier", "bystanders"))
            cells = [way, count, failed, row["rank"], *shares, f"{row['kl']:.2g}", f"{row['agreement']:.3f}"]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def plot(rows: Sequence[Mapping[str, object]], path: Path) -> None:
    """Write a PNG with a curve over deletions for each way."""
    done = [row for row in rows if row["method"] != NOT_KNOWN]
    longest = max((_count(row) for row in done), default=1)
    drawing = Drawing(len(SHOWN) * (PANEL + 56) + 30, "Success, other facts and KL over deletions composed")
    for place, (way, kind) in enumerate(zip(_ways(done), ("after", "second"), strict=False)):
        drawing.line((LEFT + 120 * place, 12), (LEFT + 20 + 120 * place, 12), kind)
        drawing.text((LEFT + 26 + 120 * place, 16), way, "label")
    for place, (column, title) in enumerate(SHOWN.items()):
        _panel(drawing, 44 + place * (PANEL + 56), title, done, column, longest)
    path.write_bytes(png(drawing))


def _panel(
    drawing: Drawing, top: float, title: str, rows: Sequence[Mapping[str, object]], column: str, longest: int
) -> None:
    """One column over deletions: shares from 0 to 1, the KL from 0 to its largest."""
    highest = max((float(str(row[column])) for row in rows), default=1.0) or 1.0 if column == "kl" else 1.0
    drawing.text((LEFT, top - 8), title, "label")
    for share in (0.0, 0.5, 1.0):
        y = top + PANEL * (1 - share)
        drawing.line((LEFT, y), (WIDTH - RIGHT, y), "grid")
        drawing.text((LEFT - 8, y + 4), f"{share * highest:.2g}", "label end")
    wide = (WIDTH - LEFT - RIGHT) / longest
    for way, kind in zip(_ways(rows), ("after", "second"), strict=False):
        curve = [(_count(row), float(str(row[column]))) for row in rows if row["method"] == way]
        drawing.path([(LEFT + wide * x, top + PANEL * (1 - y / highest)) for x, y in curve], kind)
    drawing.text((WIDTH - RIGHT, top + PANEL + 16), f"{longest} deletions", "label end")


def _ways(rows: Sequence[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(str(row["method"]) for row in rows))


def _count(row: Mapping[str, object]) -> int:
    return int(str(row["count"]))
