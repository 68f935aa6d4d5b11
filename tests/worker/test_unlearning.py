"""What the other methods are given is what R2F is: so many phrasings of every target."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tests.tiny import word_tokenizer
from tests.worker.r2f.conftest import tiny
from worker.baselines.shred import texts
from worker.baselines.task import Task
from worker.r2f.config import Config
from worker.r2f.knowledge import Knowledge
from worker.r2f.language import LanguageModel
from worker.r2f.text import Form, Prompt
from worker.r2f.views import View
from worker.unlearning import Protection, task_of


@pytest.fixture
def lm() -> LanguageModel:
    return LanguageModel(tiny("llama"), word_tokenizer(f"w{n}" for n in range(3, 97)), 48)


def given(lm: LanguageModel, known: Knowledge, views: int) -> Task:
    usual: Any = SimpleNamespace(prompts=(), replies=(), drift=None)
    loaded: Any = SimpleNamespace(lm=lm, search_drift=usual, embedder=None)
    protection: Any = Protection((), None, (), ())  # type: ignore[arg-type]
    return task_of(loaded, known, protection, list, Config(views=views), lambda share: None)


def test_every_target_gives_as_many_phrasings(lm: LanguageModel) -> None:
    asked = [
        View(target, Prompt(f"w{10 * target + n}", Form.PLAIN), (f"w{90 + target}",), "given", "request")
        for target in (1, 2, 3, 4)
        for n in range(3)
    ]
    # the third is known by sampling alone, the fourth not at all
    said = [f"w5 w{90 + view.target}" if view.target in (1, 2) else "w5" for view in asked]
    examples = [lm.example(view.prompt, f"w{90 + view.target}", view.answers, view.target) for view in asked]
    known = Knowledge(tuple(asked), tuple(said), (), tuple(e for e in examples if e and e.target < 4), "")
    task = given(lm, known, views=2)
    assert task.prompts == tuple(view.prompt for view in asked if view.target < 4 and view.prompt.text[-1] in "01")
    assert [reply.target for reply in task.replies] == [1, 1, 2, 2]
    # SHRED learns from replies, and from the examples where there are none
    assert texts(task) == (*task.replies, *(example for example in task.forget if example.target == 3))
    assert len(texts(task)) > len(task.replies)
    assert given(lm, replace(known, replies=("w5",) * len(asked)), views=2).replies == ()
