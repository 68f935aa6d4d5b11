"""What every benchmark comes to, whatever its files look like."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """A question, what is true (empty where the benchmark does not say), other wordings of it and wrong answers."""

    prompt: str
    answer: str
    subject: str = ""
    paraphrases: tuple[str, ...] = ()  # of the answer
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """What must go, what must stay, and what is asked to find out."""

    name: str
    forget: tuple[Item, ...]
    retain: tuple[Item, ...]
    questions: tuple[Item, ...]  # about what must go; the same as ``forget`` where the benchmark has no others
    passages: tuple[str, ...] = ()  # texts that must go
    retained_passages: tuple[str, ...] = ()
    taught: bool = False  # whether a model must be fine-tuned on it before there is anything to forget

    def __post_init__(self) -> None:
        if not (self.questions or self.passages):
            raise BadBenchmark(f"{self.name}: there is nothing in it to ask about.")


class BadBenchmark(ValueError):
    """The files are not in the benchmark's public format."""
