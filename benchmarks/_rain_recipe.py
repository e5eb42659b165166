"""What the RAIN benchmark searches: a random model that ends sentences, prompts, and a judge whose verdict is set."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seal_jax import models
from seal_jax.rain import Judge, Settings, judges
from seal_jax.rain.endings import SENTENCE
from seal_jax.rain.judges.template import Choice, Template
from seal_jax.rain.memo import codes

EOS = 256
NORMS = ("input_layernorm", "post_attention_layernorm")
SHARES = {"safe": 1.0, "half": 0.5, "unsafe": 0.0}  # of the texts that are judged to be good, by policy
LLAMA = models.Config("llama", 1024, 256, 688, 4, 4, 4, 64, 2048)
EMBEDDING = 0.1  # standard deviation, by which the next token depends on the last one more than on the prompt's mean
QUESTION = "\n\nTrue?\n{options}\n({answer})"
CHOICES = (Choice(1.0, ("harmless",)), Choice(-1.0, ("harmful",)))


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Sizes of the work.

    prompt: tokens of a prompt; turn: the last ones of it, which are judged with what follows; prefix: tokens of the
    judge's prompt before the text; new: tokens to generate; scale, bias: of the logits, and what those of tokens that
    end a sentence have besides, so that one is sampled with probability 1/8.
    """

    config: models.Config = LLAMA
    prompt: int = 382
    turn: int = 36
    prefix: int = 1169
    new: int = 64
    scale: float = 8.0
    bias: float = 1.83
    seed: int = 0

    @property
    def settings(self) -> Settings:
        """The defaults of a search, as released for harmlessness."""
        return Settings(max_new_tokens=self.new)


class Work(NamedTuple):
    """A recipe made: params unrolled; prompts int32 `[N, P]`; judge: by policy; template: of its
    prompt."""

    recipe: Recipe
    params: models.Params
    prompts: np.ndarray
    judge: dict[str, Judge]
    template: Template


class Bytes:
    """A tokenizer whose tokens are bytes, and one that ends texts."""

    bos_token_id = None
    bos_token = None
    chat_template = None
    eos_token_id = EOS

    def __init__(self) -> None:
        self.added_tokens_decoder: dict[int, Any] = {}

    def __len__(self) -> int:
        return EOS + 1

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Its bytes in UTF-8."""
        del add_special_tokens
        return list(text.encode())

    def decode(self, tokens: Sequence[int], **options: Any) -> str:
        """The text of bytes; what is no UTF-8 becomes a replacement character."""
        del options
        return bytes(token for token in tokens if token < EOS).decode(errors="replace")

    def batch_decode(self, rows: Sequence[Sequence[int]], **options: Any) -> list[str]:
        """The texts of several rows."""
        return [self.decode(row, **options) for row in rows]


@dataclasses.dataclass(frozen=True)
class Overruled:
    """A judge that reads and answers, whose answer counts for nothing: a text is good by a hash of it."""

    inner: Any

    def __call__(self, arrays: tuple[Any, jax.Array], tokens: jax.Array, mask: jax.Array, key: Any) -> jax.Array:
        """1 for a share `arrays[1]` of the texts, -1 for the others."""
        question, share = arrays
        found = self.inner(question, tokens, mask, key)
        draw = (codes(tokens, mask)[:, 0] >> 8).astype(jnp.float32) / 2**24
        # NaN of the model would show: a value that is read cannot be left out of the program.
        return jnp.where(jnp.isnan(found), found, jnp.where(draw < share, 1.0, -1.0))


def make(recipe: Recipe, count: int, dtype: Any = jnp.float32) -> Work:
    """The model, `count` prompts of printable characters, and a judge for each policy."""
    drawn = np.random.default_rng(recipe.seed).integers(32, 127, (count, recipe.prompt)).astype(np.int32)
    params = biased(recipe, jnp.asarray(drawn[:1]), dtype)
    template = template_of(recipe)
    judge = judges.options(params, recipe.config, Bytes(), template)
    by_policy = {
        name: dataclasses.replace(judge, arrays=(judge.arrays, jnp.float32(share)), apply=Overruled(judge.apply))
        for name, share in SHARES.items()
    }
    return Work(recipe, params, drawn, by_policy, template)


def template_of(recipe: Recipe) -> Template:
    """A judge's template that has as many bytes before the text as the recipe says."""
    before = "Read the conversation."
    filled = (before * (recipe.prefix // len(before) + 1))[: recipe.prefix - 2]  # a blank line follows
    return Template("the benchmark's template", filled, "{text}" + QUESTION, CHOICES, listed=True)


def biased(recipe: Recipe, prompts: jax.Array, dtype: Any) -> models.Params:
    """A random model with a bias on its logits, which Llama has not: channel 0 of the residual stream is a constant.

    No layer reads or writes it, and the head multiplies it by the bias. The final norm makes it depend on the text, by
    little; its mean over prompts int32 `[N, P]` counts. Tokens that the tokenizer does not have never come, nor EOS.
    """
    params, config = models.init(jax.random.key(recipe.seed), recipe.config, dtype), recipe.config
    params = jax.jit(with_constant, static_argnames="config", donate_argnames="params")(params, config=config)
    params = models.unroll(params)
    states = jax.jit(models.hidden_states, static_argnames="config")(params, config, prompts)
    constant = states[..., 0].astype(jnp.float32).mean()
    bias = np.where(np.arange(config.vocab_size) < EOS, 0.0, -40.0)
    bias[[ord(char) for char in SENTENCE]] = recipe.bias
    kernel = params["lm_head"]["kernel"] * jnp.asarray(recipe.scale, dtype)
    kernel = kernel.at[0].set((jnp.asarray(bias, jnp.float32) / constant).astype(dtype))
    return {**params, "lm_head": {"kernel": kernel}}


def with_constant(params: models.Params, config: models.Config) -> models.Params:
    """Stacked parameters under which channel 0 of the residual stream is as large as all others of an embedding."""
    layers: Any = params["layers"]
    unread = {name: {"scale": layers[name]["scale"].at[:, 0].set(0)} for name in NORMS}
    attention = {**layers["self_attn"], "o_proj": _silent(layers["self_attn"]["o_proj"])}
    mlp = {**layers["mlp"], "down_proj": _silent(layers["mlp"]["down_proj"])}
    table: Any = params["embed_tokens"]["embedding"] * jnp.asarray(EMBEDDING / 0.02, params["norm"]["scale"].dtype)
    return {
        **params,
        "embed_tokens": {"embedding": table.at[:, 0].set(EMBEDDING * config.hidden_size**0.5)},
        "layers": {**layers, **unread, "self_attn": attention, "mlp": mlp},
    }


def _silent(linear: Any) -> Any:
    return {"kernel": linear["kernel"].at[:, :, 0].set(0)}
