"""Answer prompts: the exact text models were trained on, substitution that touches nothing else, chat turns."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import TemplateError

from seal_jax.data import Passage
from seal_jax.data.worlds.tokenizer import build
from seal_jax.evaluation import answer_prompt, chat, fill, load_template
from seal_jax.seal.edits import KINDS, edit_prompt


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
    ("template", "text"),
    [
        ("{{word}} {title}", "{word} T"),
        ("{{title}} {title}", "{title} T"),
        ("{{{title}}} {{{{word}}}}", "{T} {{word}}"),
        ('{"{{key}}": "{title}", "x": {"y": 1}, {}}', '{"{key}": "T", "x": {"y": 1}, {}}'),
        ("{title}} {{title} {title}{title}", "T} {T TT"),
    ],
)
def test_braces_that_are_meant(tmp_path, template, text):
    """Doubled braces around a word stand for single ones, as in Python; braces around anything else are themselves."""
    (tmp_path / "t.txt").write_text(template)
    assert fill(load_template(str(tmp_path / "t.txt"), ("title",)), title="T") == text


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{question} {answer}", r"mine\.txt: unknown placeholder \{answer\}"),
        (b"{title}", r"mine\.txt: missing placeholder \{question\}"),
        (b"{title} {{question}}", r"mine\.txt: missing placeholder \{question\}"),
        (b"{title} {question} {word}", r"unknown placeholder \{word\}.* \['question', 'title'\]; .*\{\{text\}\}"),
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
    with pytest.raises(
        FileNotFoundError, match="'nowhere' is neither a file nor one of answer, answer-passage, judge, plain"
    ):
        answer_prompt("T", "Q?", "nowhere")


def folds_system(messages):
    return messages[0]["role"] == "system"


class ChatTokenizer:
    """What `chat` asks of a tokenizer; `bos` says whether encoding puts a BOS in front."""

    chat_template, bos_token, bos_token_id = "yes", "<s>", 1

    def __init__(self, bos=True, refuses=lambda messages: False):
        self.bos, self.refuses = bos, refuses

    def encode(self, text):
        return [1] if self.bos else []

    def apply_chat_template(self, turns, tokenize, add_generation_prompt, enable_thinking, date_string):
        assert not tokenize
        assert add_generation_prompt
        assert not enable_thinking
        assert date_string
        if self.refuses(turns):
            raise TemplateError("System role not supported")
        return "<s>" + "".join(f"[{t['role']}]{t['content']}" for t in turns) + "[model]"


def test_chat_turns():
    prompt = answer_prompt("T", "Q?", context="C", tokenizer=ChatTokenizer(bos=False))
    assert re.fullmatch(r"<s>\[system\].+\[user\]T\nC\n\nTopic: T\nQ\?\[model\]", prompt)
    prompt = answer_prompt("T", "Q?", tokenizer=ChatTokenizer(bos=True))
    assert re.fullmatch(r"\[system\].+\[user\]Topic: T\nQ\?\[model\]", prompt)
    with pytest.raises(ValueError, match="template 'plain' has no chat form; answer, answer-passage, judge do"):
        answer_prompt("T", "Q?", "plain", tokenizer=ChatTokenizer())


def test_a_format_without_system_turns():
    """As that of Gemma 2: what the system turn says stands before the user's."""
    prompt = answer_prompt("T", "Q?", tokenizer=ChatTokenizer(refuses=folds_system))
    assert re.fullmatch(r"\[user\]Answer .+\.\n\nTopic: T\nQ\?\[model\]", prompt)
    for system in ("", "Be brief."):
        with pytest.raises(ValueError, match="chat template refuses the prompt: System role not supported"):
            chat(ChatTokenizer(refuses=lambda _: True), system, "Hello")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "plain"])
def test_chat_edit_prompts(kind):
    passage = Passage("T {title}", "C {x}", ())
    prompt = edit_prompt(passage, kind, tokenizer=ChatTokenizer())
    system, user = re.fullmatch(r"(?:\[system\](.+))?\[user\](.+)\[model\]", prompt, re.DOTALL).groups()
    assert user == "T {title}\nC {x}"
    assert (system is None) == (kind == "no-prompt")


def test_kinds_without_a_chat_form():
    with pytest.raises(ValueError, match=r"'plain' has no chat form; implications, implications-long, .+ self-qa do"):
        edit_prompt(Passage("T", "C", ()), "plain", tokenizer=ChatTokenizer())


def test_chat_templates_from_files(tmp_path):
    path, passage = tmp_path / "mine.txt", Passage("T", "C", ())
    path.write_text("[system]\nBe brief.\n\nVery.\n[user]\n{title}:\n{context}\n")
    asked = edit_prompt(passage, str(path), tokenizer=ChatTokenizer())
    assert asked == "[system]Be brief.\n\nVery.[user]T:\nC[model]"
    with pytest.raises(ValueError, match=r"mine\.txt holds \[system\] and \[user\] turns"):
        edit_prompt(passage, str(path))
    path.write_text("[user]\n{title}: {context}\n")
    assert edit_prompt(passage, str(path), tokenizer=ChatTokenizer()) == "[user]T: C[model]"
    path.write_text("About {title}: {context}\nList:\n")
    assert edit_prompt(passage, str(path), tokenizer=ChatTokenizer()) == "[user]About T: C\nList:[model]"
    for wrong in (
        "[user]\n{title}\n[system]\n{context}\n",
        "{title}\n[user]\n{context}\n",
        "[system]\n{title}{context}",
    ):
        path.write_text(wrong)
        with pytest.raises(ValueError, match=r"mine\.txt: expected a line \[system\], its text, a line \[user\]"):
            edit_prompt(passage, str(path), tokenizer=ChatTokenizer())
    path.write_text("[user]\n{title}\n")
    with pytest.raises(ValueError, match=r"mine\.txt: missing placeholder \{context\}"):
        edit_prompt(passage, str(path), tokenizer=ChatTokenizer())


def test_a_tokenizer_without_a_chat_template():
    tokenizer = ChatTokenizer()
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match="no chat template"):
        answer_prompt("T", "Q?", tokenizer=tokenizer)


# The structure of released formats: ChatML with thinking (Qwen3), and one that refuses a system turn (Gemma 2).
THINKING = """{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{%- endif %}
{%- endif %}"""
NO_SYSTEM = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}
{{ raise_exception('System role not supported') }}{% endif %}
{%- for m in messages %}{{ '<start>' + m.role + '\n' + m.content + '<end>\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{ '<start>model\n' }}{%- endif %}"""


def test_formats_of_real_tokenizers():
    tokenizer = build()
    tokenizer.chat_template = THINKING
    asked = "Topic: T\nQ?"
    prompt = answer_prompt("T", "Q?", tokenizer=tokenizer)
    assert prompt.startswith("<|im_start|>system\nAnswer")
    assert prompt.endswith(f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")
    tokenizer.chat_template, tokenizer.bos_token = NO_SYSTEM, "<bos>"
    prompt = answer_prompt("T", "Q?", tokenizer=tokenizer)
    assert re.fullmatch(r"<bos><start>user\nAnswer .+\.\n\nTopic: T\nQ\?<end>\n<start>model\n", prompt)
    edit = edit_prompt(Passage("T", "C", ()), "no-prompt", tokenizer=tokenizer)
    assert edit == "<bos><start>user\nT\nC<end>\n<start>model\n"
