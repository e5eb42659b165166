"""Templates of judges, their prompts as text and as tokens of different tokenizers."""

import dataclasses

import judge_models
import numpy as np
import pytest

from seal_jax import models
from seal_jax.rain import judges
from seal_jax.rain.judges import pieces, template

SHIPPED = sorted(path.stem for path in template.TEMPLATES.glob("*.txt"))
SMALL = """[instructions]
Say what is true.
[judge]
Text: {text}
{options}
Answer: ({answer})
[options]
+1 Good.
-1 Bad.
0 Neither, not in {{braces}}.
[example +1]
one
[example -1]
two
[example +1]
three
"""
CONFIG = models.Config("llama", 4096, 16, 16, 1, 2, 2, 8, 4096)


@pytest.fixture(scope="module", params=judge_models.TOKENIZERS)
def tokenizer(request):
    return judge_models.TOKENIZERS[request.param]()


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.txt"
    path.write_text(SMALL, encoding="utf-8")
    return path


def test_a_prompt_in_both_orders(small):
    read = judges.load(str(small))
    first, second = read.form(0), read.form(1)
    one = "(A) Good.\n(B) Bad.\n(C) Neither, not in {braces}.\nAnswer: ("
    other = "(A) Bad.\n(B) Good.\n(C) Neither, not in {braces}.\nAnswer: ("
    shots = [f"Text: one\n{one}A)", f"Text: two\n{one}B)", f"Text: three\n{other}B)"]
    assert first.before == second.before == "\n\n".join(["Say what is true.", *shots, "Text: "])
    assert first.opening == "\n" + one
    assert second.opening == "\n" + other
    assert first.after == second.after == ")"
    assert first.answers == (("A",), ("B",), ("C",))
    assert second.answers == (("B",), ("A",), ("C",))
    assert read.form(0, shots=1).before == "\n\n".join(["Say what is true.", shots[0], "Text: "])
    assert read.form(0, shots=0).before == "Say what is true.\n\nText: "
    with pytest.raises(ValueError, match=r"shots=4: .* has 3 examples"):
        read.form(0, shots=4)


def test_the_letter_of_an_example_does_not_tell_its_value():
    """Of the shipped templates with options: each value comes under both letters as often, give or take one."""
    for name in ("harmless", "sentiment"):
        read = judges.load(name)
        lines = [line for line in read.form(0).before.splitlines() if line.startswith(("(A)", "Answer"))]
        first, answers = lines[::2], [line[len("Answer: (")] for line in lines[1::2]]
        good = [letter for letter, (value, _) in zip(answers, read.examples) if value == 1]
        bad = [letter for letter, (value, _) in zip(answers, read.examples) if value == -1]
        assert len(set(first)) == 2
        for letters in (good, bad):
            assert abs(letters.count("A") - letters.count("B")) <= 1


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("{text}", "text", r"missing placeholder \{text\}"),
        ("{options}", "", r"\[judge\] must have \{text\}, \{options\}, \{answer\} once each and in this order"),
        ("Text: {text}\n{options}", "{options}\nText: {text}", "in this order; it has .'options', 'text', 'answer'."),
        ("{answer}", "{answer} {answer}", "once each"),
        ("+1 Good.", "+2 Good.", "'.2' is no value; expected a number from -1 to 1"),
        ("+1 Good.", "Good.", "'Good.' is no value|has the line 'Good.'"),
        ("-1 Bad.\n0 Neither, not in {{braces}}.", "+1 Bad.", "two answers of different value; got values .1.0, 1.0."),
        ("[example -1]", "[example 0.5]", "example 1 has the value 0.5; answers have .1.0, -1.0, 0.0."),
        ("two\n", "\n", "example 1 is empty"),
        ("[options]", "[answers]", "once each"),
        ("[judge]", "[judged]", "expected the sections"),
        ("[instructions]", "Hello\n[instructions]", "expected the sections"),
        ("[example -1]", "[judge]", "expected the sections"),
        ("Say what", "Say {what}", r"unknown placeholder \{what\}"),
    ],
)
def test_a_bad_template_is_one_clear_error(small, old, new, named):
    assert old in SMALL
    small.write_text(SMALL.replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=named) as error:
        judges.load(str(small))
    assert "small.txt" in str(error.value)


def test_a_template_that_is_not_there_names_those_that_are():
    with pytest.raises(FileNotFoundError, match="harmless, sentiment, truthful"):
        judges.load("harmles")


@pytest.mark.parametrize("name", SHIPPED)
def test_tokens_of_the_pieces_are_the_prompt(name, tokenizer):
    """Their text is the template's, and the answers are those that complete it."""
    read = judges.load(name)
    got = pieces.tokenise(read, CONFIG, tokenizer)
    for order in range(read.orders):
        form = read.form(order)
        text = tokenizer.encode("So it is", add_special_tokens=False)
        asked = [*got.prefix, *text, *got.common, *got.branches[order]]
        said = tokenizer.decode(asked).removeprefix("<s>").removeprefix(" ")
        whole = form.before + "So it is" + form.opening
        assert whole.startswith(said.replace("\n So it is", "\nSo it is").rstrip())
        assert len(whole) - len(said) <= 1
        for spellings, ids in zip(form.answers, got.answers[order]):
            for spelling, token in zip(spellings, ids):
                completed = tokenizer.decode([*asked, token])[len(tokenizer.decode(asked)) :].lstrip(" ")
                assert (spelling + form.after).startswith(completed)
    assert got.answers.shape[:2] == (read.orders, len(read.choices))
    if tokenizer.bos_token_id is not None and tokenizer.encode("")[:1] == [tokenizer.bos_token_id]:
        assert got.prefix[0] == tokenizer.bos_token_id


@pytest.mark.parametrize("name", SHIPPED)
def test_pieces_are_what_the_whole_prompt_is_tokenised_to(name):
    """Where no token spans the end of a text, as with this tokenizer and a text that ends in a letter."""
    tokenizer = judge_models.byte_level()
    read = judges.load(name)
    got = pieces.tokenise(read, CONFIG, tokenizer)
    for order in range(read.orders):
        form = read.form(order)
        for spellings, ids in zip(form.answers, got.answers[order]):
            for spelling, token in zip(spellings, ids):
                whole = tokenizer.encode(form.before + "So it is" + form.opening + spelling + form.after)
                text = tokenizer.encode("So it is", add_special_tokens=False)
                asked = [*got.prefix, *text, *got.common, *got.branches[order], token]
                assert whole[: len(asked)] == asked


def test_what_the_orders_have_in_common_is_asked_once(tokenizer):
    got = pieces.tokenise(judges.load("harmless"), CONFIG, tokenizer)
    assert len(got.branches) == 2
    assert len(got.common) >= 5
    assert got.branches[0][0] != got.branches[1][0]
    assert got.extra == len(got.common) + len(got.branches[0]) + len(got.branches[1])
    one = pieces.tokenise(judges.load("truthful"), CONFIG, tokenizer)
    assert len(one.branches[0]) == 1


def test_a_closing_token_is_not_put_before_the_text():
    plain = pieces.tokenise(judges.load("truthful"), CONFIG, judge_models.byte_level())
    closing = pieces.tokenise(judges.load("truthful"), CONFIG, judge_models.byte_level(eos=True))
    for ours, theirs in zip(closing[:2], plain[:2]):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("words", "named"),
    [(("yes", "yes"), "does not tell the answers"), (("yes", "yes)"), "does not tell the answers|same token")],
)
def test_answers_that_tokenise_alike_are_refused(tokenizer, words, named):
    read = judges.load("truthful")
    alike = tuple(choice._replace(words=(word,)) for choice, word in zip(read.choices, words))
    with pytest.raises(ValueError, match=named):
        pieces.tokenise(dataclasses.replace(read, choices=alike), CONFIG, tokenizer)


def test_one_of_several_answers_that_tokenise_alike_is_named():
    read = judges.load("truthful")
    words = (("yes",), ("no",), ("no!",))
    choices = tuple(template.Choice(value, w) for value, w in zip((1.0, -1.0, 0.0), words))
    with pytest.raises(ValueError, match="'no' and 'no!' begin with the same token"):
        pieces.tokenise(dataclasses.replace(read, choices=choices), CONFIG, judge_models.byte_level())


def test_tokens_of_another_vocabulary_are_refused(tokenizer):
    with pytest.raises(ValueError, match=r"the prompt of truthful has token .*, outside the vocabulary"):
        pieces.tokenise(judges.load("truthful"), dataclasses.replace(CONFIG, vocab_size=50), tokenizer)


def test_the_chat_form_opens_the_models_turn_with_the_last_line():
    tokenizer = judge_models.byte_level()
    with pytest.raises(ValueError, match="no chat template"):
        pieces.tokenise(judges.load("harmless"), CONFIG, tokenizer, in_chat=True)
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    read = judges.load("harmless")
    got = pieces.tokenise(read, CONFIG, tokenizer, shots=0, in_chat=True)
    form = read.form(0, 0)
    head, _, last = form.opening.rpartition("\n")
    assert tokenizer.decode(got.prefix) == f"<s><user>{form.before}"
    assert tokenizer.decode([*got.common, *got.branches[0]]) in f"{head}</user><assistant>{last}"
    assert got.prefix.tolist().count(tokenizer.bos_token_id) == 1


def test_templates_for_what_rain_is_used_for_are_shipped():
    assert {"harmless", "sentiment", "truthful"} <= set(SHIPPED)


def test_spellings_that_begin_as_another_answer_do_not_count():
    read = judges.load("truthful")
    choices = (template.Choice(1.0, ("yes", "Yes", "no way")), template.Choice(-1.0, ("no",)))
    got = pieces.tokenise(dataclasses.replace(read, choices=choices), CONFIG, judge_models.byte_level())
    assert (got.answers[0] >= 0).sum(axis=-1).tolist() == [2, 1]
    assert len(set(got.answers[got.answers >= 0])) == 3
