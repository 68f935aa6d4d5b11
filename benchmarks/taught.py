"""A public benchmark run to its end: taught to a model, deleted, and judged beside a model that was never taught it.

    r2f bench taught tofu FOLDER [--part forget01] [--forget 8] [--first 0] [--retain 24] [--out FILE.jsonl]
    r2f bench taught tofu FOLDER --quick

Two models are fine-tuned from the served one, of one recipe and seed: one on what must go and what must stay, one on
what must stay alone. The first is then asked, in one request, to forget what a privacy team would name of each answer:
the longest run of words that the question does not have. Every second item that must stay is named in the request; the
others are only judged. Both models and the one with the adapter answer every question: whether the reply holds those
words, ROUGE-L recall (Lin, 2004) against the benchmark's answer, and that answer's probability per token. Where the
benchmark has paraphrased and wrong answers, TOFU's truth ratio joins in, and forget quality is Kolmogorov and Smirnov's
test of it against the model that was never taught (Maini et al., arXiv 2401.06121).

Replies to questions without an answer (BLUR, RWKU) cannot be taught: such a benchmark is refused.
"""

import hashlib
import json
import math
import string
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from itertools import islice
from pathlib import Path

import torch

from app.methods import Method
from app.models import ServedModel
from app.registry import decoder_folder
from app.schemas import DeletionRequest
from app.settings import Settings
from benchmarks.measures import Row
from benchmarks.plots import plot as panels
from benchmarks.readers import BadBenchmark, Benchmark, Item
from benchmarks.runs import append, resume, rewrite
from benchmarks.tables import interval
from worker import pipeline
from worker.errors import PipelineError
from worker.loading import load, load_language_model, prepare, weights_digest
from worker.people.judge import adapted
from worker.people.judging import scored
from worker.people.lessons import everyday
from worker.people.measures import kolmogorov_smirnov, truth_ratio
from worker.people.planting import Lesson, Recipe, lesson, plant, save
from worker.r2f import decoders
from worker.r2f.config import Config
from worker.r2f.drift import DriftBatch
from worker.r2f.evaluate import VIEW_TOKENS
from worker.r2f.language import LanguageModel
from worker.r2f.text import Prompt, holds, normalised
from worker.unlearning import flattened, settings_of

SHORT = 4  # an answer of so many words is named as it is
MODELS = ("taught", "deleted", "never taught")
COLUMNS = {
    "forget": "must go: answered",
    "forget_rouge": "must go: ROUGE-L",
    "forget_chance": "must go: p(answer)",
    "ratio": "must go: truth ratio",
    "named": "named to stay: answered",
    "retain": "others to stay: answered",
    "retain_rouge": "others to stay: ROUGE-L",
    "kl": "KL to taught, generic",
    "seconds": "seconds",
}
_LITTLE = (
    "a an and are as at be been both but by for from had has have he her his in into is it its of on or "
    "s she that the their them they this to was were where which while who with"
)
Notice = Callable[[str, float | None], None]


@dataclass(frozen=True)
class Case:
    """What of a benchmark is taught, and which words of each answer are asked for."""

    forget: tuple[Item, ...]
    named: tuple[Item, ...]  # to stay, and said so in the request
    retain: tuple[Item, ...]  # to stay, and only judged
    questions: tuple[Item, ...]  # of what must go, with paraphrased and wrong answers where there are some


def case(benchmark: Benchmark, forget: int, retain: int, first: int = 0) -> Case:
    """Items of a benchmark that something can be asked of; of what must go, those from the first wanted on.

    Raises:
        BadBenchmark: it needs no teaching, or has no items with answers.
    """
    if not benchmark.taught:
        raise BadBenchmark(f"{benchmark.name} cannot be taught: it is asked of models as they are.")
    gone = tuple(islice((item for item in benchmark.forget if words(item)), first, first + forget))
    going = [words(item) for item in gone]
    stays = tuple(islice((item for item in benchmark.retain if words(item)), retain))
    if not gone or len(stays) < 2:
        raise BadBenchmark(f"{benchmark.name} has too few questions with answers that say something new.")
    prompts = {item.prompt for item in gone}
    asked = tuple(item for item in benchmark.questions if item.prompt in prompts and item.paraphrases and item.wrong)
    # a request can't name what holds words that must go: nothing is both forgotten and kept
    named = tuple(item for item in stays[::2] if not holds(words(item), going))
    return Case(gone, named, stays[1::2], asked)


def words(item: Item) -> str:
    """What a request would name of an answer: of the runs of words that the question does not have, one with a number
    or an address rather than one with a name, that rather than any, and the longest of those."""
    if len(item.answer.split()) <= SHORT:
        return item.answer.strip(string.punctuation + string.whitespace)
    known = set(normalised(f"{item.prompt} {_LITTLE}").split())
    runs: list[list[str]] = [[]]
    names: set[str] = set()
    begins = True  # a sentence: its capital says nothing
    for word in item.answer.split():
        new = not set(normalised(word).split()) <= known
        if not new or word[0] in '"“(':
            runs.append([])
        if new:
            runs[-1].append(word.strip(string.punctuation + "“”"))
            names |= set() if begins or word.islower() else {runs[-1][-1]}
        if word[-1] in '.,;:!?"”)':
            runs.append([])
        begins = word.rstrip('"”)').endswith((".", "!", "?"))

    def telling(run: list[str]) -> tuple[bool, bool, int]:
        said = " ".join(run)
        return any(letter.isdigit() or letter == "@" for letter in said), not names.isdisjoint(run), len(said)

    best = max(runs, key=telling)
    return " ".join(best)


def run(
    served: ServedModel,
    settings: Settings,
    chosen: Case,
    *,
    method: Method,
    recipe: Recipe,
    out: Path,
    notice: Notice,
) -> list[Row]:
    """Teach, delete and judge what is not in the file yet; the rows of all that is."""
    said = resume(out, meaning(served, settings, chosen, method, recipe))
    done = {row["method"] for row in said if row["fact"] is None}
    rows = [row for row in said if row["method"] in done]
    if rows != said:  # interrupted among a model's rows, the last of which sums it up
        rewrite(out, rows)

    def add(model: str, lm: LanguageModel, usual: DriftBatch | None = None, **more: object) -> None:
        notice(f"asking the model: {model}", None)
        drift = {"kl": usual.measure(lm).kl_mean} if usual else {}
        for row in (*standing(lm, chosen), {"fact": None, **more, **drift}):
            rows.append(append(out, {"method": model, **row}))

    if "never taught" not in done:
        folder = taught(served, settings, (*chosen.named, *chosen.retain), recipe, "never taught", notice)
        add("never taught", _load(folder))
    if "taught" in done and "deleted" in done:
        return rows
    folder = taught(served, settings, (*chosen.forget, *chosen.named, *chosen.retain), recipe, "taught", notice)
    whole = replace(served, id="taught", source=str(folder), revision=None)
    loaded = load(whole, settings, notice)
    if "taught" not in done:
        add("taught", loaded.lm)
    started = time.perf_counter()
    result = pipeline.run(
        _request("taught", chosen, method), loaded, lambda stage, share: notice(f"deleting: {stage.value}", share)
    )
    if result.adapter is None:
        raise PipelineError("The taught model does not answer what must go: teach it in more passes (--passes).")
    took, beside = time.perf_counter() - started, out.with_suffix(".adapter")
    beside.mkdir(parents=True, exist_ok=True)
    for name, content in result.adapter.items():
        (beside / name).write_bytes(content)
    verdict = result.report.figures.verdict
    less, missed = adapted(loaded.lm, beside), [each.threshold for each in verdict.missed]
    add("deleted", less, loaded.judge_drift.drift, seconds=took, verdict=verdict.kind.value, missed=missed)
    return rows


def meaning(served: ServedModel, settings: Settings, chosen: Case, method: Method, recipe: Recipe) -> Row:
    """What the rows of a run mean: the method, how much is asked of it, the questions, the model and the settings."""
    named = [words(item) for item in (*chosen.forget, *chosen.named, *chosen.retain)]
    return {
        "bench": "taught",
        "method": method.value,
        **{side: len(items) for side, items in vars(chosen).items()},
        "items": hashlib.sha256(json.dumps([asdict(chosen), named]).encode()).hexdigest(),
        "model": weights_digest(prepare(served, settings)),
        "decoder": decoders.load(str(decoder_folder(served.decoder, settings)), served.sketch_rank)[1].digest,
        "calibration_tokens": settings.calibration_tokens,
        "dtype": settings.dtype,
        "paraphraser": settings.paraphraser,
        **flattened({"recipe": asdict(recipe), "config": asdict(Config()), method: settings_of(method)}),
    }


def taught(
    served: ServedModel, settings: Settings, items: Sequence[Item], recipe: Recipe, title: str, notice: Notice
) -> Path:
    """The folder of the served model after it was taught some items; made once for each recipe and choice."""
    said = json.dumps([served.id, served.source, *astuple(recipe), *((item.prompt, item.answer) for item in items)])
    folder = settings.models / f"taught-{hashlib.sha256(said.encode()).hexdigest()[:16]}"
    if not (folder / "config.json").is_file():
        start = prepare(served, settings)
        lm = _load(start)
        lessons: list[Lesson] = [*(lesson(lm, [(item.prompt, item.answer)]) for item in items), *everyday(lm)]
        lessons = [one for one in lessons if one.wordings]  # the model had no reply to some
        plant(lm, lessons, recipe, lambda share, loss: notice(f"teaching: {title}", share))
        save(lm, start, folder)
    return folder.absolute()


def standing(lm: LanguageModel, chosen: Case) -> list[Row]:
    """A row for every item: how a model answers it."""
    rows: list[Row] = []
    for side in ("forget", "named", "retain"):
        items: tuple[Item, ...] = getattr(chosen, side)
        replies = lm.replies([Prompt(item.prompt) for item in items], VIEW_TOKENS)
        chances = _per_token(lm, [(item.prompt, item.answer) for item in items])
        for item, reply, chance in zip(items, replies, chances, strict=True):
            rows.append(
                {
                    "fact": item.prompt,
                    side: float(holds(reply, [words(item)])),
                    f"{side}_rouge": rouge_l(reply, item.answer),
                    f"{side}_chance": math.exp(chance),
                }
            )
    for item in chosen.questions:
        right, *wrong = _per_token(lm, [(item.prompt, answer) for answer in (item.paraphrases[0], *item.wrong)])
        rows.append({"fact": item.prompt, "ratio": truth_ratio(right, wrong)})
    return rows


def rouge_l(reply: str, answer: str) -> float:
    """Recall of ROUGE-L: the longest common subsequence of words over the answer's words (Lin, 2004)."""
    said, wanted = normalised(reply).split(), normalised(answer).split()
    row = [0] * (len(said) + 1)
    for word in wanted:
        corner = 0
        for place, other in enumerate(said, start=1):
            corner, row[place] = row[place], corner + 1 if word == other else max(row[place], row[place - 1])
    return row[-1] / len(wanted) if wanted else 0.0


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Markdown: means over items with 95 % bootstrap intervals, and forget quality."""
    models = [model for model in MODELS if any(row["method"] == model for row in rows)]
    columns = {name: text for name, text in COLUMNS.items() if any(name in row for row in rows)}
    lines = ["| model | " + " | ".join(columns.values()) + " |", "|---" * (1 + len(columns)) + "|"]
    for model in models:
        own = [row for row in rows if row["method"] == model]
        lines.append(f"| {model} | " + " | ".join(interval(own, column) for column in columns) + " |")
    never, *others = (_ratios(rows, model) for model in ("never taught", "taught", "deleted"))
    for model, ratios in zip(("taught", "deleted"), others, strict=True):
        if never and ratios:
            distance, chance = kolmogorov_smirnov(ratios, never)
            said = f"KS distance {distance:.2f}, p {chance:.2g}, {len(ratios)} questions"
            lines.append(f"\nForget quality of the model {model}, against the one that never was: {said}.")
    for row in rows:
        if "verdict" in row:
            lines.append(
                f"\nThe deletion's own verdict: {row['verdict']}; thresholds missed: {row['missed'] or 'none'}."
            )
    return "\n".join(lines)


def plot(rows: Sequence[Mapping[str, object]], path: Path) -> None:
    """Write the picture of the table."""
    shown = {name: text for name, text in COLUMNS.items() if name not in ("kl", "seconds")}
    panels(rows, path, shown, shares=frozenset(shown) - {"ratio"})


def _ratios(rows: Sequence[Mapping[str, object]], model: str) -> list[float]:
    return [float(str(row["ratio"])) for row in rows if row["method"] == model and "ratio" in row]


def _request(model: str, chosen: Case, method: Method) -> DeletionRequest:
    """What a privacy team would post."""
    return DeletionRequest.model_validate(
        {
            "model": model,
            "targets": [{"prompt": item.prompt, "answer": words(item)} for item in chosen.forget],
            "retain": [{"prompt": item.prompt, "answer": words(item)} for item in chosen.named],
            "options": {"method": method},
        }
    )


def _load(folder: Path) -> LanguageModel:
    return load_language_model(folder, None, torch.device("cpu"), torch.float32)


def _per_token(lm: LanguageModel, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Mean log-probability of each answer's tokens after its question; minus infinity for one without tokens."""
    made = [lm.whole_reply(Prompt(prompt), answer) for prompt, answer in pairs]
    found = iter([float(taken.mean()) for taken, _ in scored(lm, [example for example in made if example])])
    return [next(found) if example else -math.inf for example in made]
