"""Pretraining documents of the dialogue world: right replies in any order, whose contents, and what the loss counts."""

import re

import numpy as np
import pytest

from seal_jax.data.worlds import dialogue, dialogue_corpus, dialogue_questions, dialogue_tokenizer
from seal_jax.data.worlds.dialogue_words import CAREFUL, KIND, PEOPLE, RECKLESS, RUDE, STATES, THINGS, TOOLS

FAULT = re.compile(r"is it (rude|reckless|astray|harmful)\?\nAnswer: (\w+)")
REMARK = re.compile(r"Assistant: (.*)\nQuestion: is it (\w+)\?\nAnswer: (\w+)")
TOKEN = re.compile(r"\n(?=\n)|(?:^|\n| )(?:Human|Assistant|Question|Answer):|\(|\w+|[.,?!)]")
CHOICE = re.compile(r"\nQuestion: how is the answer\?\n\(A\) (\w+)\n\(B\) (\w+)\nAnswer: \((\w)\)")


@pytest.fixture(scope="module")
def tok():
    return dialogue_tokenizer.build()


@pytest.fixture(scope="module")
def documents():
    rng = np.random.default_rng(0)
    return [dialogue_corpus.draw(rng) for _ in range(1500)]


def dialogues(document):
    """(prompt, answer, questions) of each dialogue in a document."""
    found = []
    for part in document.text.split("\n\n"):
        human, _, rest = part.partition("\nAssistant: ")
        if rest:
            answer, question, questions = rest.partition("\nQuestion:")
            found.append((f"{human}\nAssistant:", answer, question + questions))
    return found


def test_verdicts_are_those_of_the_world_in_both_orders(documents):
    orders, verdicts = [], []
    for document in documents:
        for prompt, answer, questions in dialogues(document):
            for a, b, letter in CHOICE.findall(questions):
                assert {a, b} == {"good", "bad"}
                right = a if letter == "A" else b
                assert (right == "good") == dialogue.is_good(prompt, answer), document.text
                orders.append(a == "good")
                verdicts.append(right == "good")
            for yes in re.findall(r"is the answer good\?\nAnswer: (\w+)", questions):
                assert (yes == "yes") == dialogue.is_good(prompt, answer)
            for words, said in FAULT.findall(questions):
                assert (said == "yes") == (words in dialogue.faults(prompt, answer))
    assert len(orders) > 300
    assert 0.43 < np.mean(orders) < 0.57
    assert 0.35 < np.mean(verdicts) < 0.65


def test_remarks_are_judged_by_what_they_say_alone():
    rng, said = np.random.default_rng(0), {}
    for _ in range(300):
        found = REMARK.findall(dialogue_corpus.remarks(rng).text)
        assert len(found) == 4
        for text, fault, yes in found:
            thing = next((word for word in re.findall(r"\w+", text) if word in THINGS), "cat")
            assert (yes == "yes") == (fault in dialogue.faults(thing, text)), text
            said.setdefault(fault, []).append(yes == "yes")
    assert set(said) == {"rude", "reckless", "harmful"}
    assert all(0.4 < np.mean(each) < 0.6 for each in said.values())


def test_questions_about_words_have_one_right_option():
    kinds = {"rude": RUDE, "kind": KIND, "reckless": RECKLESS, "tool": TOOLS}
    rng = np.random.default_rng(0)
    for _ in range(300):
        asking = dialogue_questions.about_words(rng)
        meant = kinds[asking.words.split()[-1][:-1]]
        assert [option for option in asking.options if option in meant] == [asking.right]


def test_answers_in_question_are_whole_or_end_at_a_comma_or_a_sentence_end(documents):
    answers = [answer for document in documents for _, answer, questions in dialogues(document) if questions]
    assert {answer[-1] for answer in answers} == set(",.?!")


def test_a_document_shows_contents_of_the_training_split_alone(documents):
    for document in documents:
        for prompt, _, _ in dialogues(document):
            words = re.findall(r"\w+", prompt)
            who, thing, state = (next(w for w in words if w in kind) for kind in (PEOPLE, THINGS, STATES))
            assert (who, thing, state) in dialogue.contents("train")


def weights_of(document):
    """The loss weight of each character."""
    weights = np.ones(len(document.text))
    for start, end, weight in document.spans:
        weights[start:end] = weight
    return weights


def test_replies_count_most_and_questions_nothing(documents):
    for document in documents:
        weights = weights_of(document)
        for match in re.finditer(r"(?:Human:.*\n)?Assistant:|\nQuestion:(.|\n)*?Answer:", document.text):
            assert (weights[match.start() : match.end()] == dialogue_corpus.CONTEXT_WEIGHT).all()
        counted = "".join(c for c, weight in zip(document.text, weights) if weight == dialogue_corpus.REPLY_WEIGHT)
        replies = re.findall(r"\nAnswer:(?: \((\w\))|( \w+))", document.text)
        assert counted == "".join(a or b for a, b in replies)
        assert ("Question:" in document.text) == bool(counted)


def test_answers_count_but_for_what_makes_them_good_where_that_is_not_as_the_wording_makes_it(documents):
    deciding = {*TOOLS, *KIND, *RUDE, *CAREFUL, *RECKLESS}
    for document in documents:
        weights = weights_of(document)
        for prompt, answer, questions in dialogues(document):
            start = document.text.index(f"{prompt} {answer}") + len(prompt) + 1
            for match in re.finditer(r"\w+", answer):
                weight = weights[start + match.start()]
                free = match[0] not in deciding
                if not questions:
                    assert weight == (1 if free else dialogue_corpus.DECIDING_WEIGHT)
                elif prompt.startswith("Human"):
                    assert weight == (dialogue_corpus.ANSWER_WEIGHT if free else dialogue_corpus.CONTEXT_WEIGHT)


def test_the_judge_is_asked_as_its_template_asks(tok):
    asked = dialogue.ask("test", np.random.default_rng(0))
    asking = dialogue_questions.verdict(asked, f"For the {asked.thing} you should not be stupid.", None)
    assert (asking.options, asking.right) == (("good", "bad"), "good")
    block = dialogue_questions.block(asking, (1, 0))
    assert block == "\nQuestion: how is the answer?\n(A) bad\n(B) good\nAnswer: ("
    assert dialogue_questions.reply(asking, (1, 0)) == "B)"
    assert dialogue_questions.reply(asking) == "A)"
    assert tok.convert_ids_to_tokens(tok(block + "B)")["input_ids"])[-3:] == ["▁(", "B", ")"]


def test_documents_are_a_function_of_the_generator(documents):
    again = np.random.default_rng(0)
    assert [dialogue_corpus.draw(again) for _ in range(len(documents))] == documents


def test_a_word_is_a_token_and_any_text_survives(tok, documents):
    for document in documents[:300]:
        ids = tok(document.text)["input_ids"]
        assert tok.decode(ids) == document.text
        assert len(ids) == len(TOKEN.findall(document.text))
    for text in ("Ünïcode, 漢字\n and more", "Human: hi\n\nAssistant: \n(x)", "  two"):
        assert tok.decode(tok(text)["input_ids"]) == text
