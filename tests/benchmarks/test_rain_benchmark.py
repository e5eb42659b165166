"""The RAIN benchmark: its recipe is the one that was fixed, and at a tiny size every number is there."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import _rain_gpu, _rain_turns, rain
from benchmarks._rain_recipe import EOS, LLAMA, Bytes, Recipe, biased, make
from seal_jax import generation, models
from seal_jax.rain.endings import SENTENCE

TINY = Recipe(
    dataclasses.replace(LLAMA, hidden_size=32, intermediate_size=48, num_layers=1, num_heads=2, num_kv_heads=2),
    prompt=48,
    turn=10,
    prefix=70,
    new=6,
)


@pytest.fixture(scope="module")
def tiny():
    return make(TINY, 2)


def test_the_model_ends_sentences_and_never_texts():
    recipe = Recipe()
    drawn = np.random.default_rng(1).integers(32, 127, (4, recipe.prompt))
    params = biased(recipe, jnp.asarray(drawn, jnp.int32), jnp.float32)
    assert sum(x.size for x in jax.tree.leaves(params)) == 3_688_704
    key = jax.random.key(0)
    said = generation.generate(params, recipe.config, drawn.tolist(), key, recipe.new, temperature=1.0, eos=()).tokens
    tokens = jnp.asarray(np.concatenate([drawn, np.array(said)], axis=1), jnp.int32)
    states = models.hidden_states(params, recipe.config, tokens)[:, recipe.prompt - 1 : -1]
    probs = jax.nn.softmax(models.unembed(params, recipe.config, states))
    ends = probs[..., np.array([ord(char) for char in SENTENCE])].sum(-1)
    assert float(ends.mean()) == pytest.approx(1 / 8, abs=0.02)
    assert float(probs[..., EOS:].sum(-1).max()) < 1e-9
    assert float(probs.max(-1).mean()) < 0.5  # it has a choice


def test_the_lengths_are_those_of_the_recipe(tiny):
    recipe = Recipe()
    assert (recipe.prompt, recipe.prefix, recipe.new, recipe.scale) == (382, 1169, 64, 8)
    assert recipe.turn + recipe.new + recipe.settings.longest == 110
    assert tiny.prompts.shape == (2, TINY.prompt)
    [prefix] = tiny.judge["half"].arrays[0].prefix
    assert prefix.valid.shape == (1, TINY.prefix)
    assert prefix.valid.all()
    assert tiny.judge["half"].passes == 1
    tiny.judge["half"].check(TINY.turn + TINY.new + TINY.settings.longest)


def test_policies_overrule_a_judge_that_has_read_the_texts(tiny):
    texts = jax.random.randint(jax.random.key(0), (400, 9), 32, 127)
    mask = jnp.ones(texts.shape, bool)
    good = {name: float((judge(texts, mask) == 1).mean()) for name, judge in tiny.judge.items()}
    assert good["safe"] == 1.0
    assert good["half"] == pytest.approx(0.5, abs=0.1)
    assert good["unsafe"] == 0.0
    padded = jnp.pad(texts, ((0, 0), (0, 3)))
    wider = tiny.judge["half"](padded, jnp.pad(mask, ((0, 0), (0, 3))))
    np.testing.assert_array_equal(wider, tiny.judge["half"](texts, mask))
    question, share = tiny.judge["safe"].arrays
    table = question.params["embed_tokens"]["embedding"] * jnp.nan
    blind = dataclasses.replace(question, params={**question.params, "embed_tokens": {"embedding": table}})
    judge = dataclasses.replace(tiny.judge["safe"], arrays=(blind, share), apply=Marked(tiny.judge["safe"].apply))
    assert jnp.isnan(judge(texts, mask)).all()


@dataclasses.dataclass(frozen=True)
class Marked:
    """The overruled judge with a verdict that is NaN where its model's scores are."""

    overruled: object

    def __call__(self, arrays, tokens, mask, key):
        inner = self.overruled.inner
        scores = lambda question, tokens, mask, key: inner.scores(question, tokens, mask).sum((1, 2))  # noqa: E731
        return dataclasses.replace(self.overruled, inner=scores)(arrays, tokens, mask, key)


def test_the_tokenizer_is_bytes():
    tokenizer = Bytes()
    assert tokenizer.encode("a.\n") == [97, 46, 10]
    assert tokenizer.decode([97, 46, EOS, 255]) == "a.\ufffd"
    assert tokenizer.eos_token_id == EOS == len(tokenizer) - 1


def test_turns_are_taken_and_ratios_are_of_the_same_turn():
    seconds, last = _rain_turns.take(
        3, {"a": lambda: _rain_turns.Done(2), "b": lambda: _rain_turns.Done(4)}, once=("b",)
    )
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 1}
    assert last["b"].tokens == 4
    assert _rain_turns.ratios([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]) == {"median": 3.0, "least": 2.0, "most": 4.0}


@pytest.mark.slow
def test_rain_benchmark():
    prompts = {"safe": 2, "unsafe": 1}
    found = rain.run(["safe", "unsafe"], rounds=1, prompts=prompts, batch=2, recipe=TINY)
    assert found["llama-2-7b"] is None
    for policy in prompts:
        result = found[policy]
        assert set(result["milliseconds_per_token"]) == {"transformers", "greedy", "one", "batch", "plain"}
        for ratio in ("over_transformers", "over_greedy", "batch_over_one", "plain_over_one"):
            assert 0 < result[ratio]["least"] <= result[ratio]["median"] <= result[ratio]["most"]
        assert result["one"]["tokens"] == prompts[policy] * TINY.new
        assert result["batch"]["tokens"] == 2 * TINY.new
        assert result["plain"]["tokens"] == TINY.new
        for how in ("one", "batch", "plain"):
            done = result[how]
            assert done["passes_per_token"] == pytest.approx(done["passes_per_search"] * done["searches_per_token"])
            assert 0 < done["judged_per_search"] <= 1
            assert done["truncated"] == 0
    assert found["safe"]["one"]["searches"] == found["safe"]["batch"]["searches"]
    assert found["safe"]["one"]["searches_per_token"] < found["unsafe"]["one"]["searches_per_token"]
    assert found["safe"]["plain"]["searches_per_token"] < found["unsafe"]["plain"]["searches_per_token"]


@pytest.mark.slow
def test_the_part_for_a_gpu_runs_on_a_small_model():
    found = _rain_gpu.measure(TINY, ["safe"], batch=2, rounds=1, platform="cpu")
    assert found["transformers_milliseconds_per_token"] > 0
    assert found["safe"]["batch"]["tokens"] == 2 * TINY.new
    assert found["safe"]["batch_over_one"]["median"] > 0
    with pytest.raises(RuntimeError, match="--gpu needs a GPU"):
        _rain_gpu.measure(platform="gpu")
