"""EOS and stop strings, on a model that recites a known text: after piece n it always says piece n + 1."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers
from tokenizers import decoders
from transformers import PreTrainedTokenizerFast

from seal_jax import generation, models
from seal_jax.generation import decode, engine

# Recited in this order, round and round. Bytes 3-5 are the euro sign.
PIECES = ["a", "b", " c\nd", "e", "f", "<0xE2>", "<0x82>", "<0xAC>", "g", "g", "</s>", "<|end|>", "<pad>"]
A, B, CD, E, F, EURO, G, G2, EOS, END = 0, 1, 2, 3, 4, 5, 8, 9, 10, 11
# Whole recital from "b" on: "b c\ndef€gg" + EOS.
CONFIG = models.Config("llama", len(PIECES), 16, 8, 1, 2, 2, 8, 256)


@pytest.fixture(scope="module")
def params():
    """One layer that adds nothing; embeddings are unit vectors, and the head looks for the predecessor's."""
    eye = np.eye(len(PIECES), 16, dtype=np.float32)
    heads = {n: {"kernel": np.zeros((1, 16, 16), np.float32)} for n in ("q_proj", "k_proj", "v_proj", "o_proj")}
    mlp = {n: {"kernel": np.zeros((1, 16, 8), np.float32)} for n in ("gate_proj", "up_proj")}
    layer = {
        "self_attn": heads,
        "mlp": {**mlp, "down_proj": {"kernel": np.zeros((1, 8, 16), np.float32)}},
        "input_layernorm": {"scale": np.ones((1, 16), np.float32)},
        "post_attention_layernorm": {"scale": np.ones((1, 16), np.float32)},
    }
    tree = {
        "embed_tokens": {"embedding": jnp.asarray(eye)},
        "layers": layer,
        "norm": {"scale": np.ones((16,), np.float32)},
        "lm_head": {"kernel": jnp.asarray(np.roll(eye, 1, axis=0).T)},
    }
    return models.unroll(tree)


@pytest.fixture(scope="module")
def tokenizer():
    """Pieces as they are, bytes joined into characters, no special tokens added by itself."""
    names = [p if i != G2 else "<g2>" for i, p in enumerate(PIECES)]
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({p: i for i, p in enumerate(names)}, unk_token="<pad>"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.decoder = decoders.Sequence([decoders.Replace("<g2>", "g"), decoders.ByteFallback(), decoders.Fuse()])
    inner.add_special_tokens(["</s>", "<|end|>", "<pad>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="</s>", pad_token="<pad>", clean_up_tokenization_spaces=False
    )


def recite(params, tokenizer, **settings):
    """The continuation of "a": tokens, text, finished."""
    out = generation.generate(params, CONFIG, ["a"], None, **{"max_new_tokens": 16, "tokenizer": tokenizer, **settings})
    assert len(out.logprobs[0]) == len(out.tokens[0])
    return out.tokens[0], out.texts[0], out.finished[0]


def test_the_tokenizer_s_eos_ends_a_row_unless_told_otherwise(params, tokenizer):
    text = "b c\ndef€gg"
    assert recite(params, tokenizer) == ([*range(B, EOS)], text, True)
    # Without EOS it recites on; special tokens are not in the text.
    tokens, longer, finished = recite(params, tokenizer, eos=())
    assert (tokens, longer, finished) == ([*range(B, 13), A, B, CD, E], text + "ab c\nde", False)
    assert recite(params, tokenizer, eos=(F,)) == ([B, CD, E], "b c\nde", True)


@pytest.mark.parametrize(
    ("stop", "tokens", "text"),
    [
        ("\n", [B], "b c"),  # " c\nd" straddles the cut: its text is kept as far as the stop, the token is not
        (" c", [B], "b"),
        ("de", [B], "b c\n"),  # over two tokens
        ("€", [B, CD, E, F], "b c\ndef"),  # over three bytes
        ("gg", [*range(B, G)], "b c\ndef€"),
        ("f€g", [B, CD, E], "b c\nde"),
        (("never", "e", "c\nde"), [B], "b "),  # both end at "e"; the cut is where the earliest begins
        (("g", "def€g"), [B], "b c\n"),
        ("b", [], ""),
    ],
)
def test_stop_strings_are_cut_exactly(params, tokenizer, stop, tokens, text):
    assert recite(params, tokenizer, stop=stop) == (tokens, text, True)


def test_the_row_ends_with_the_first_stop_that_is_complete(params, tokenizer):
    # "c" is complete before "b c\nd", although that begins earlier.
    assert recite(params, tokenizer, stop=("c", "b c\nde")) == ([B], "b ", True)


def test_a_stop_string_that_never_comes(params, tokenizer):
    assert recite(params, tokenizer, stop="zebra", max_new_tokens=4) == ([B, CD, E, F], "b c\ndef", False)


def test_a_special_token_s_name_as_stop_string_is_an_eos(params, tokenizer):
    tokens, text, finished = recite(params, tokenizer, stop="<|end|>", eos=())
    assert (tokens, text, finished) == ([*range(B, END)], "b c\ndef€gg", True)


def _noted(states, started):
    states.append(started[0])
    return started


def test_stop_strings_end_the_loop_early(params, tokenizer, monkeypatch):
    states, start, resume = [], decode.start, decode.resume
    monkeypatch.setattr(decode, "start", lambda *a, **k: _noted(states, start(*a, **k)))
    monkeypatch.setattr(decode, "resume", lambda *a, **k: states.append(resume(*a, **k)) or states[-1])
    monkeypatch.setattr(engine, "SEGMENT", 8)
    recite(params, tokenizer, stop="\n", max_new_tokens=64)  # inside one token: within the loop
    assert [int(s.step) for s in states] == [2]
    states.clear()
    recite(params, tokenizer, stop="de", max_new_tokens=64)  # over two tokens: at the end of the segment
    assert [int(s.step) for s in states] == [8]
    states.clear()
    assert recite(params, tokenizer, eos=(), stop="ggab", max_new_tokens=64)[1] == "b c\ndef€"
    assert [int(s.step) for s in states] == [8, 16]


@pytest.mark.parametrize(("stop", "message"), [("", "empty string"), (("a", ""), "empty string")])
def test_bad_stop_strings(params, tokenizer, stop, message):
    with pytest.raises(ValueError, match=message):
        recite(params, tokenizer, stop=stop)


def test_an_eos_beyond_the_vocabulary_is_ignored_unless_given(params, tokenizer):
    """As a small model has that keeps the default ids of its family."""
    config = dataclasses.replace(CONFIG, eos_token_ids=(F, 50256, -1))
    out = generation.generate(params, config, [[A]], None, 16, min_new_tokens=1)
    assert (out.tokens, out.finished) == ([[B, CD, E]], [True])
    for eos in (50256, (F, 50256), [-1]):
        with pytest.raises(ValueError, match=r"eos has token (50256|-1), outside the vocabulary 0\.\.12"):
            generation.generate({}, config, [[A]], None, 16, eos=eos)


def test_one_eos_and_no_stop_strings(params, tokenizer):
    assert recite(params, tokenizer, eos=F, stop=None) == ([B, CD, E], "b c\nde", True)


@pytest.mark.parametrize(("change", "message"), [({"stop": [5]}, "stop has 5"), ({"eos": "</s>"}, "eos has '</s>'")])
def test_eos_and_stop_confused(tokenizer, change, message):
    with pytest.raises(ValueError, match=message + ": expected .* go to (eos|stop)="):
        recite({}, tokenizer, **change)
