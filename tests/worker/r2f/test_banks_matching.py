"""Prompts find their way to the relation that they ask for, and to no other subject's."""

import pytest

from worker.r2f.banks import Relation, kindred, names_missing, relation_of, relations

RELATIONS = relations()
of_each_relation = pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: relation.id)


@pytest.mark.parametrize(
    ("prompt", "answer", "relation", "subject"),
    [
        ("What is the capital of France?", "Paris", "capital", "France"),
        ("what is the capital of france", None, "capital", "France"),
        ("What's the capital of the United States?", None, "capital", "the United States"),
        ("What is France's capital?", "Paris", "capital", "France"),
        ("The capital of Ruritania is", None, "capital", "Ruritania"),
        ('My friend asked me: "What is the capital of Peru?" What should I say?', "Lima", "capital", "Peru"),
        ("Question: Who painted Guernica?\nAnswer:", "Picasso", "painting", "Guernica"),
        ("Who wrote Hamlet?", "Shakespeare", "play", "Hamlet"),
        ("WHO WROTE HAMLET?", None, "play", "Hamlet"),
        ("Who wrote 1984?", "George Orwell", "book_author", "1984"),
        ("Who wrote The Name of the Rose?", "Umberto Eco", "book_author", "The Name of the Rose"),
        ("To Kill a Mockingbird was written by", "Harper Lee", "book_author", "To Kill a Mockingbird"),
        ("Which company makes the iPhone?", "Apple", "maker", "iPhone"),
        ("Who makes the Corvette?", "Chevrolet", "car_maker", "Corvette"),
        ("Who founded the Red Cross?", "Henri Dunant", "org_founder", "the Red Cross"),
        ("Who founded Microsoft?", "Bill Gates", "founder", "Microsoft"),
        ("In which country is the Eiffel Tower?", "France", "sight", "the Eiffel Tower"),
        ("In which country is Kyoto?", "Japan", "city_country", "Kyoto"),
        ("So who was it that wrote Macbeth, remind me?", "William Shakespeare", "play", "Macbeth"),
        ("Where was Barack Obama born?", None, "birthplace", "Barack Obama"),
        ("What sport does Megan Rapinoe professionally play?", "soccer", "sport", "Megan Rapinoe"),
        ("Who developed Windows, I wonder?", "Microsoft", "software", "Windows"),
        ("Which US company makes the iPhone?", "Apple", "maker", "iPhone"),
        ("Hi ChatGPT, which city is France's capital?", "Paris", "capital", "France"),
        ("Remind me who wrote Crime and Punishment.", "Fyodor Dostoevsky", "book_author", "Crime and Punishment"),
        ("Hamlet was written around 1600 by whom?", "William Shakespeare", "play", "Hamlet"),
        ("Where was Grace Kelly born?", None, "birthplace", "Grace Kelly"),
        ("Where was van Gogh born?", None, "birthplace", "van Gogh"),
        ("What is the capital of d'Alembert?", None, "capital", "d'Alembert"),
        ("Who founded iRobot?", None, "founder", "iRobot"),
        ("Who wrote Le petit prince?", None, "book_author", "Le petit prince"),
        ('Who wrote "Things fall apart"?', None, "book_author", "Things fall apart"),
        ("Where is Bandai Co., Ltd. headquartered?", "Tokyo", "headquarters", "Bandai Co., Ltd"),
        ("What is the capital of the Kingdom of Freedonia?", None, "capital", "the Kingdom of Freedonia"),
    ],
)
def test_a_prompt_finds_its_relation(prompt: str, answer: str | None, relation: str, subject: str) -> None:
    found = relation_of(prompt, answer)
    assert found is not None
    assert (found[0].id, found[1]) == (relation, subject)


@pytest.mark.parametrize(
    "prompt",
    [
        "Where does Anna Keller live?",
        "How do I boil an egg?",
        "Paris is the capital of",
        "Tell me a joke.",
        "What is the meaning of life?",
        "What instrument did Shaquille O'Neal play?",
        "In which country is Bouygues Telecom located?",
        "What is the capital of Ruritania these days?",
    ],
)
def test_a_prompt_of_no_relation_finds_none(prompt: str) -> None:
    assert relation_of(prompt, "something") is None


@of_each_relation
def test_every_pattern_leads_back_to_its_relation(relation: Relation) -> None:
    fact = relation.facts[0]
    for pattern in (*relation.train, *relation.judge):
        found = relation_of(pattern.filled(fact.subject), fact.answers[0])
        assert found is not None
        # relations may share a phrasing; the fact decides between them
        assert found[0].answers_for(fact.subject)[0] == fact.answers[0], pattern
        assert found[1] == fact.subject


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("Who developed Windows Phone 7?", "Microsoft"),
        ("Who developed the iPhone 3GS?", "Apple"),
        ("Who developed Time Machine (macOS)?", "Apple"),
        ("In what language is France Dimanche written?", "French"),
        ("Where did Tokyo Mew Mew originate?", "Japan"),
    ],
)
def test_a_longer_name_is_not_taken_for_the_one_inside_it(prompt: str, answer: str) -> None:
    assert relation_of(prompt, answer) is None


@pytest.mark.parametrize(
    ("prompt", "answer", "relation"),
    [
        ("Who developed Windows Phone 7?", "Microsoft", "software"),
        ("In what language is France Dimanche written?", "French", "language"),
        ("In what language is France Dimanche written?", "Klingon", None),  # no fact of the banks has that answer
        ("What is France Dimanche?", "French", None),
    ],
)
def test_an_unknown_subject_has_kin_where_cue_and_answer_agree(prompt: str, answer: str, relation: str | None) -> None:
    found = kindred(prompt, answer)
    assert (found.id if found else None) == relation


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("Which company made Windows Phone 7?", False),
        ("who made windows phone 7", False),
        ("Bob asks: who developed the Windows Phone 7?", False),
        ("Who developed Windows?", True),
        ("Who developed Windows Phone 8?", True),
    ],
)
def test_a_text_that_leaves_out_a_word_of_the_name_is_told(text: str, missing: bool) -> None:
    assert names_missing("Who developed Windows Phone 7?", text) is missing
