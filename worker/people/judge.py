"""Judges a deletion against retraining: ``python -m worker.people.judge``, a process of its own.

Reads {"planted": folder, "retrained": folder, "adapter": folder, "people": n, "attributes": […], "seed": n,
"person": n} from standard input and writes the figures of the three models, and what sets them apart, as JSON.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from worker.loading import load_language_model
from worker.people.judging import Comparison, Standing, compare, standing
from worker.people.person import Attribute, Person, people
from worker.people.phrasings import judged
from worker.people.relearning import RECIPE, Relearning, relearn
from worker.r2f.banks import generic
from worker.r2f.drift import DriftBatch, Generic
from worker.r2f.language import LanguageModel
from worker.r2f.text import Prompt

STRANGERS = 4  # people of the same generator whom no model was taught
GENERIC_PROMPTS = 12
REPLY_TOKENS = 24


@dataclass(frozen=True)
class Judgement:
    """Three models side by side; KL in nats per token, from the first named to the second."""

    planted: Standing
    forgotten: Standing
    retrained: Standing
    quality: Comparison  # forgotten against retrained: alike is good
    control: Comparison  # planted against retrained: what the test finds where nothing was forgotten
    person_kl: float  # retrained to forgotten, on the questions about the person
    person_kl_control: float  # retrained to planted, on the same
    generic_kl: float  # planted to forgotten, on everyday questions
    generic_agreement: float  # share of their tokens with the same first choice
    relearning: Relearning  # of the forgotten model
    relearning_control: Relearning  # of the retrained one, which never knew


@dataclass(frozen=True)
class Case:
    """Whom the judgement is about."""

    person: Person
    others: Sequence[Person]
    strangers: Sequence[Person]


def judge(planted: Path, retrained: Path, adapter: Path, case: Case) -> Judgement:
    """Load the models one after the other and compare them."""
    prompts = [Prompt(question.text) for question in judged(case.person)]
    without = _load(retrained)
    reference = DriftBatch.of(without, prompts, without.replies(prompts, REPLY_TOKENS))
    never = _standing(without, case)
    whole = _load(planted)
    usual = Generic.of(whole, generic().judge[:GENERIC_PROMPTS], REPLY_TOKENS)
    before, control_kl = _standing(whole, case), reference.measure(whole).kl_mean
    less = adapted(whole, adapter)
    after, person_kl, drift = _standing(less, case), reference.measure(less).kl_mean, usual.drift.measure(less)
    return Judgement(
        planted=before,
        forgotten=after,
        retrained=never,
        quality=compare(after, never),
        control=compare(before, never),
        person_kl=person_kl,
        person_kl_control=control_kl,
        generic_kl=drift.kl_mean,
        generic_agreement=drift.agreement,
        relearning=relearn(less, case.person, RECIPE),
        relearning_control=relearn(without, case.person, RECIPE),
    )


def _standing(lm: LanguageModel, case: Case) -> Standing:
    return standing(lm, case.person, case.others, case.strangers)


def _load(folder: Path) -> LanguageModel:
    return load_language_model(folder, None, torch.device("cpu"), torch.float32)


def adapted(lm: LanguageModel, adapter: Path) -> LanguageModel:
    """The model with the adapter in its weights, as a server would have it; the given one is used up."""
    wrapped: Any = PeftModel.from_pretrained(lm.model, str(adapter))
    model = wrapped.merge_and_unload()
    model.requires_grad_(False)
    return LanguageModel(model, lm.tokenizer, lm.context)


def main() -> None:
    """Read, judge, write."""
    asked = json.load(sys.stdin)
    attributes = [Attribute(name) for name in asked["attributes"]]
    made = people(asked["people"] + STRANGERS, asked["seed"], attributes)
    everybody, strangers = made[: asked["people"]], made[asked["people"] :]
    person = everybody[asked["person"]]
    case = Case(person, [other for other in everybody if other is not person], strangers)
    found = judge(Path(asked["planted"]), Path(asked["retrained"]), Path(asked["adapter"]), case)
    json.dump(asdict(found), sys.stdout)


if __name__ == "__main__":
    main()
