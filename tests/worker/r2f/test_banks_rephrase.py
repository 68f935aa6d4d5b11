"""Rephrasing by rule: grammatical, apart for training and judging, and silent where no rule is sure."""

import pytest

from worker.r2f.banks import Relation, relations
from worker.r2f.banks.rephrase import rephrase
from worker.r2f.text import holds, normalised

FAMILIES = {"train", "judge"}
FORMS = {"question", "command", "cloze", "completion"}


def forms(prompt: str, family: str) -> set[str]:
    return {found.text for found in rephrase(prompt) if found.family == family}


@pytest.mark.parametrize(
    ("prompt", "train", "judge"),
    [
        ("What is the capital of Peru?", "The capital of Peru is", "Do you know what the capital of Peru is?"),
        ("What's the age of Rome", "Tell me the age of Rome.", "Fill in the blank: ___ is the age of Rome."),
        ("What is Marie Curie famous for?", "Marie Curie is famous for", "Do you know what Marie Curie is famous for?"),
        ("Who wrote Hamlet?", "Name the person who wrote Hamlet.", "Who was it that wrote Hamlet?"),
        ("Who wrote Hamlet?", "Hamlet was written by", "I would like to know who wrote Hamlet."),
        ("Who was the Mona Lisa painted by?", "The Mona Lisa was painted by", "By whom was the Mona Lisa painted?"),
        ("Who was king of Peru?", "Name the person who was king of Peru.", "Do you know who was king of Peru?"),
        ("What is Anna Falk's job?", "Tell me Anna Falk's job.", "I would like to know what Anna Falk's job is."),
        ("Who was Cleopatra?", "Tell me who Cleopatra was.", "Do you know who Cleopatra was?"),
        ("Who did Brutus kill?", "Name the person that Brutus killed.", "Do you know who Brutus killed?"),
        ("Where is Mount Fuji?", "Mount Fuji is located in", "Do you know where Mount Fuji is?"),
        ("Where was Einstein born?", "Tell me where Einstein was born.", "Please remind me where Einstein was born."),
        ("Where does Dr. Ida Falk work?", "Tell me where Dr. Ida Falk works.", "Do you know where Dr. Ida Falk works?"),
        ("When did World War II end?", "World War II ended in the year", "Do you know when World War II ended?"),
        ("Which firm makes Lego?", "Name the firm that makes Lego.", "Do you know which firm makes Lego?"),
        ("Which country is Paris in?", "Name the country that Paris is in.", "Do you know which country Paris is in?"),
        ("What year was Bach born?", "Name the year in which Bach was born.", "Do you know what year Bach was born?"),
        ("What color is the sky?", "Tell me what color the sky is.", "Do you know what color the sky is?"),
        ("Which firm did Jobs found?", "Name the firm that Jobs founded.", "Do you know which firm Jobs founded?"),
        ("In which town is Ashby?", "Ashby is located in the town of", "Do you know in which town Ashby is located?"),
        ("How many men own cars?", "Tell me the number of men that own cars.", "Do you know how many men own cars?"),
        ("How tall is Mount Fuji?", "Tell me the height of Mount Fuji.", "Do you know how tall Mount Fuji is?"),
        ("How do I boil an egg?", "Explain how to boil an egg.", "I would like to know how to boil an egg."),
        ("What does DNA stand for?", "DNA stands for", "Do you know what DNA stands for?"),
        ("The Mona Lisa was painted by", "Who was The Mona Lisa painted by?", "By whom was The Mona Lisa painted?"),
        ("The author of Emma is", "Who is the author of Emma?", "Complete the sentence: The author of Emma is ___."),
        ("The capital of Peru is ___.", "What is the capital of Peru?", "Do you know what the capital of Peru is?"),
        ("Einstein was born in", "Continue: Einstein was born in", "Complete the sentence: Einstein was born in ___."),
        ("Name the capital of France.", "What is the capital of France?", "Do you know what the capital of France is?"),
        ("Please tell me who wrote Hamlet.", "Who wrote Hamlet?", "I would like to know who wrote Hamlet."),
    ],
)  # fmt: skip
def test_a_prompt_is_rephrased_for_training_and_for_judging(prompt: str, train: str, judge: str) -> None:
    assert train in forms(prompt, "train")
    assert judge in forms(prompt, "judge")


@pytest.mark.parametrize(
    "prompt",
    [
        "What are you doing?",
        "What is going on?",
        "How are you?",
        "How do you feel?",
        "Why is the sky blue?",
        "When was Bach born and where?",
        "Write a poem about rain.",
        "Hello",
        "",
        "?",
        'My friend asked me: "Who wrote Hamlet?" What should I say?',
        "The sun rose. The birds sang.",
        "What " + "very " * 30 + "long question is this?",
    ],
)
def test_what_has_no_sure_shape_is_left_alone(prompt: str) -> None:
    assert rephrase(prompt) == ()


@pytest.mark.parametrize("relation", relations(), ids=lambda relation: relation.id)
def test_rephrasing_never_repeats_itself_or_the_prompt(relation: Relation) -> None:
    for fact in relation.facts[:3]:
        for pattern in (*relation.train, *relation.judge):
            prompt = pattern.filled(fact.subject)
            found = rephrase(prompt)
            assert all(form.family in FAMILIES and form.form in FORMS for form in found)
            words = [normalised(text) for text in (prompt, *(form.text for form in found))]
            assert len(set(words)) == len(words)
            assert not [form.text for form in found if holds(form.text, fact.answers)]
