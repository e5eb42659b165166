"""Answer prompts: the exact text models were trained on, substitution that touches nothing else, chat turns."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seal_jax.data import Passage
from seal_jax.evaluation import answer_prompt, fill, load_template
from seal_jax.seal.edits import edit_prompt


def test_the_text_of_the_embedded_checkpoints():
    assert answer_prompt("Ann Bell", "Where was she born?", "plain") == "Topic: Ann Bell\nWhere was she born?\nAnswer:"
    shown = answer_prompt("T", "Q?", "plain", context="Some text.")
    assert shown == "T\nSome text.\nTopic: T\nQ?\nAnswer:"


def test_real_models_are_asked_with_the_topic():
    hidden, shown = answer_prompt("T", "Q?"), answer_prompt("T", "Q?", context="Some text.")
    for prompt in (hidden, shown):
        assert prompt.endswith("\n\nQuestion: Topic: T\nQ?\nAnswer:\n")
    assert "\nT\nSome text.\n" in shown
    assert "Some text." not in hidden


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_braces_in_a_value_are_left_alone(title, question, context):
    template = "{title}|{question}|{context}|{title}"
    assert fill(template, title=title, question=question, context=context) == f"{title}|{question}|{context}|{title}"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{question} {answer}", r"mine\.txt: unknown placeholder \{answer\}"),
        (b"{title}", r"mine\.txt: missing placeholder \{question\}"),
        (b"{title}\xff{question}", r"mine\.txt: not UTF-8 text, at byte 7"),
    ],
)
def test_template_errors(tmp_path, content, problem):
    path = tmp_path / "mine.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=problem):
        answer_prompt("T", "Q?", str(path))


def test_template_files(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes(b"About {title}:\r\n{question}\r\n\r\n")
    assert load_template(str(path), ("title", "question")) == "About {title}:\n{question}\n"
    with pytest.raises(ValueError, match=r"missing placeholder \{context\}"):
        answer_prompt("T", "Q?", str(path), context="C")
    with pytest.raises(FileNotFoundError, match="'nowhere' is neither a file nor one of answer, answer-passage, plain"):
        answer_prompt("T", "Q?", "nowhere")


class ChatTokenizer:
    """What `chat` asks of a tokenizer; `bos` says whether encoding puts a BOS in front."""

    chat_template, bos_token, bos_token_id = "yes", "<s>", 1

    def __init__(self, bos):
        self.bos = bos

    def encode(self, text):
        return [1] if self.bos else []

    def apply_chat_template(self, turns, tokenize, add_generation_prompt):
        assert not tokenize
        assert add_generation_prompt
        return "<s>" + "".join(f"[{t['role']}]{t['content']}" for t in turns) + "[model]"


def test_chat_turns():
    prompt = answer_prompt("T", "Q?", context="C", tokenizer=ChatTokenizer(bos=False))
    assert re.fullmatch(r"<s>\[system\].+\[user\]T\nC\n\nTopic: T\nQ\?\[model\]", prompt)
    prompt = answer_prompt("T", "Q?", tokenizer=ChatTokenizer(bos=True))
    assert re.fullmatch(r"\[system\].+\[user\]Topic: T\nQ\?\[model\]", prompt)


def test_chat_edit_prompts():
    passage = Passage("T", "C", ())
    prompt = edit_prompt(passage, "rewrite", tokenizer=ChatTokenizer(bos=True))
    assert re.fullmatch(r"\[system\]Below is a passage\. .+ line of its own\.\[user\]T\nC\[model\]", prompt)
    with pytest.raises(ValueError, match="'plain' has no instruction before the passage"):
        edit_prompt(passage, "plain", tokenizer=ChatTokenizer(bos=True))


def test_a_tokenizer_without_a_chat_template():
    tokenizer = ChatTokenizer(bos=True)
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match="no chat template"):
        answer_prompt("T", "Q?", tokenizer=tokenizer)
