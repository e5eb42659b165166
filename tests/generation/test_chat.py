"""Messages become prompts by the tokenizer's template; a beginning-of-text token is never doubled."""

import pathlib

import jax
import numpy as np
import pytest
import tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import seal_jax
from seal_jax import generation, models
from seal_jax.generation.prompts import encode

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    "<{{ m.role }}> {{ m.content }} </{{ m.role }}> {% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
WORDS = ["<unk>", "<s>", "</s>", "<user>", "</user>", "<system>", "</system>", "<assistant>", "</assistant>"]
WORDS += ["who", "are", "you", "be", "brief"]
CONFIG = models.Config("llama", len(WORDS), 16, 24, 1, 2, 2, 8, 64)
ASKED = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "who are you"}]


@pytest.fixture(scope="module")
def tokenizer():
    """Words, a BOS in front of plain text, and a chat template that writes its own."""
    table = {w: i for i, w in enumerate(WORDS)}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(table, unk_token="<unk>"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    inner.add_special_tokens(WORDS[:9])
    inner.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    made.chat_template = TEMPLATE
    return made


def words(tokens):
    return " ".join(WORDS[t] for t in tokens)


def test_messages_become_the_prompt_of_an_answer(tokenizer):
    text, chat = encode(["who are you", ASKED], CONFIG, tokenizer)
    assert words(text) == "<s> who are you"
    assert words(chat) == "<s> <system> be brief </system> <user> who are you </user> <assistant>"
    [context] = encode([ASKED[:1]], CONFIG, tokenizer, answer=False)
    assert words(context) == "<s> <system> be brief </system>"


def test_a_prompt_is_the_same_on_any_day(tokenizer, monkeypatch):
    dated = "{{ 'you' if date_string is defined else strftime_now('%d %b %Y') }}"  # as in Llama 3.2's
    monkeypatch.setattr(tokenizer, "chat_template", dated)
    assert words(*encode([ASKED], CONFIG, tokenizer)) == "you"


def test_text_that_has_its_bos_gets_no_second_one(tokenizer):
    templated = tokenizer.apply_chat_template(ASKED, add_generation_prompt=True, tokenize=False)
    text, chat = encode([templated, ASKED], CONFIG, tokenizer)
    assert text.tolist() == chat.tolist()
    [odd] = encode(["<s> <s> who"], CONFIG, tokenizer)  # one of the two was written on purpose
    assert words(odd) == "<s> <s> who"


def test_chats_with_a_shared_system_message(tokenizer):
    params = models.unroll(models.init(jax.random.key(0), CONFIG))
    asked = [[ASKED[0], {"role": "user", "content": c}] for c in ("who are you", "you")]
    expected = generation.generate(params, CONFIG, asked, None, 6, tokenizer=tokenizer)
    prefix = generation.prefill(params, CONFIG, ASKED[:1], tokenizer)
    assert words(prefix.tokens) == "<s> <system> be brief </system>"
    assert generation.generate(params, CONFIG, asked, None, 6, tokenizer=tokenizer, prefix=prefix).tokens == (
        expected.tokens
    )
    scores = generation.score(params, CONFIG, asked, ["be brief", "you"], tokenizer)
    assert [len(s) for s in scores] == [2, 1]
    assert np.max(np.concatenate(scores)) < 0


def test_the_embedded_tokenizer():
    """It has a BOS and no chat template."""
    folder = pathlib.Path(seal_jax.__file__).parent / "assets" / "biographies"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = models.Config("llama", len(tokenizer), 16, 24, 1, 2, 2, 8, 64)
    plain, marked = encode(["Who is she?", tokenizer.bos_token + "Who is she?"], config, tokenizer)
    assert plain.tolist() == tokenizer.encode("Who is she?")
    assert marked.tolist().count(tokenizer.bos_token_id) == 1
    with pytest.raises(ValueError, match="prompt 0 is messages, but the tokenizer has no chat template"):
        encode([ASKED], config, tokenizer)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([["who"]], "prompt 0 is not a flat list of token ids"),
        ([[{"role": "user"}]], r"prompt 0: message 0 is \{'role': 'user'\}, not"),
        ([[*ASKED, "who"]], "prompt 0: message 2 is 'who', not"),
        ([ASKED, [{"role": "tool", "content": ""}]], "prompt 1: the tokenizer's chat template refuses.*no tools here"),
        (ASKED, "prompts is one list of messages: pass a list of prompts"),
        ([[]], "prompt 0 is empty"),
    ],
)
def test_bad_messages(tokenizer, prompts, message):
    with pytest.raises(ValueError, match=message):
        generation.generate({}, CONFIG, prompts, None, tokenizer=tokenizer)


def test_messages_without_a_tokenizer():
    with pytest.raises(ValueError, match="prompt 0 is messages: pass tokenizer="):
        generation.generate({}, CONFIG, [ASKED], None)
