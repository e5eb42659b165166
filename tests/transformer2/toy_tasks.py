"""What the tests of training share: a tiny random model with a tokenizer, and tasks that it can be made to do."""

import jax
import numpy as np

from seal_jax import models
from seal_jax.data.problems import Problem
from seal_jax.data.worlds import tokenizer
from seal_jax.transformer2 import Task


def model():
    """A random Llama of two layers of 32 with the tokenizer of the worlds."""
    tok = tokenizer.build()
    config = models.Config("llama", len(tok), 32, 48, 2, 4, 2, 8, 64, eos_token_ids=(tok.eos_token_id,))
    # Larger weights than a fresh model's, so that answers are no near-ties and a prompt has a few likely ones.
    params = jax.tree.map(lambda x: x if np.all(x == 1) else 6 * x, models.init(jax.random.key(0), config))
    params["lm_head"] = {"kernel": 5 * params["lm_head"]["kernel"]}
    return models.Model(config, params, tok)


WORDS = ("red", "green", "blue", "black", "white", "small", "large", "old", "new", "good")


def problems(count, start=0, words=3):
    """Problems whose prompt is a few words; prompts of several lengths."""
    rng = np.random.default_rng(start)
    texts = [" ".join(rng.choice(WORDS, words + i % 3)) for i in range(count)]
    return [Problem(f"p{start + i}", text, "right", solution="a good answer") for i, text in enumerate(texts)]


def task(grade, count=8, max_new_tokens=4, stop=()):
    """A task of three disjoint splits of `count` problems."""
    splits = [problems(count, start) for start in (0, 100, 200)]
    return Task("toy", *splits, grade, max_new_tokens, stop)
