"""WMDP (Li et al., arXiv 2403.03218): four-way multiple choice about dangerous knowledge, and texts that hold it.

``<domain>_questions.json`` with question, choices and the place of the right one; ``<domain>-forget-corpus.jsonl`` and
``<domain>-retain-corpus.jsonl`` with a text in every record, for the domains bio, cyber and chem.
"""

from pathlib import Path

from benchmarks.readers.benchmark import BadBenchmark, Benchmark, Item
from benchmarks.readers.rows import Row, found, needed, rows


def read(folder: Path, domain: str = "bio") -> Benchmark:
    """One domain's questions, with its texts where they are there."""
    questions = tuple(map(_item, rows(needed(folder, f"{domain}_questions"))))
    return Benchmark(
        f"WMDP {domain}",
        questions,
        (),
        questions,
        passages=_texts(found(folder, f"{domain}-forget-corpus")),
        retained_passages=_texts(found(folder, f"{domain}-retain-corpus")),
    )


def _item(row: Row) -> Item:
    choices = row.texts("choices")
    if len(choices) < 2:
        raise BadBenchmark(f"{row.place}: `choices` must hold at least two answers.")
    right = row.number("answer", below=len(choices))
    wrong = tuple(choice for n, choice in enumerate(choices) if n != right)
    return Item(row.text("question"), choices[right], wrong=wrong)


def _texts(path: Path | None) -> tuple[str, ...]:
    return tuple(row.text("text") for row in rows(path)) if path else ()
