"""The compiled search: the same tree as the plain loop, whatever batch it runs in; refill, ends, counts, errors."""

import collections
import dataclasses
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import rain_search, rain_tree
from spelling import Spelling

from seal_jax import models
from seal_jax.rain import host, refill, rollouts, simulate, visit
from seal_jax.rain.judge import from_reward
from seal_jax.rain.search import search
from seal_jax.rain.settings import Settings
from seal_jax.runtime import resources

CONFIG = models.Config(
    model_type="llama",
    vocab_size=40,
    hidden_size=32,
    intermediate_size=64,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    max_position=64,
)
SETTINGS = Settings(
    max_new_tokens=14,
    max_simulation=4,
    max_searches=14,
    min_visits=4,
    floor_searches=6,
    candidates=4,
    rollout_tries=3,
    rollout_top_k=5,
    max_children=6,
    set_lengths=(1, 2, 4),
    similarity_threshold=0.9,
    widening_coefficient=0.1,
)
RELEASED = dataclasses.replace(
    SETTINGS, score="paper", eos="released", simulation="end", widened_priors="released", remember_values=False
)
EOS = 0
TEXTS = ["", *"abcdefghijklmnopqrst", "u.", "v.", "w,", "x?", "y\n", *(f" {c}z" for c in "abcdefghijklmn")]
TOKENIZER = Spelling(TEXTS, special={EOS})
STOP = ["zv", "hh", "ikj"]
PROMPTS = [[1, 2, 3], [4, 5, 6, 7, 8], [9, 10], [11, 12, 13, 14], [15, 16, 17], [18]]
KEY = jax.random.key(3)
KINDS = ("odd", "mostly bad", "good", "bad", "begins with 7", "has an end")


def reward(kind, tokens, mask, key):
    """By the kind: 1 or -1 by the number of tokens 3 modulo 7; graded and mostly below 0; always 1; always -1; else
    1 where the text is as said and -1 elsewhere.
    """
    del key
    odd = jnp.where((mask & (tokens % 7 == 3)).sum(-1) % 2 == 0, 1.0, -1.0)
    graded = jnp.sin(jnp.where(mask, tokens * 7 % 11, 0).sum(-1).astype(jnp.float32)) * 0.6 - 0.5
    good = jnp.ones(len(tokens))
    begins = jnp.where(tokens[:, 0] == 7, 1.0, -1.0)
    ends = jnp.where((mask & (tokens == EOS)).any(-1), 1.0, -1.0)
    return jnp.stack([odd, graded, good, -good, begins, ends])[kind]


def judge_of(kind):
    return from_reward(reward, jnp.int32(KINDS.index(kind)), passes=1, extra_tokens=2)


def sharp(seed):
    """Parameters of a model that is sure enough of itself for rollouts to coincide at times."""
    params = models.init(jax.random.key(seed), CONFIG)
    return {**params, "lm_head": {"kernel": params["lm_head"]["kernel"] * 60}}


@pytest.fixture(scope="module")
def params():
    return sharp(0)


def run(params, prompts=PROMPTS, kind="odd", settings=SETTINGS, **options):
    options = {"eos": [EOS], "stop": STOP, "tokenizer": TOKENIZER, "programs": 1, **options}
    return search(params, CONFIG, prompts, KEY, judge=judge_of(kind), settings=settings, **options)


def plain(params, row, kind, settings):
    """The same by the plain loop."""
    hidden, logits = rain_search.model_of(params, CONFIG, models.hidden_states, models.unembed)
    judge = judge_of(kind)

    def value(text):
        tokens = jnp.asarray([text], jnp.int32)
        return float(judge(tokens, jnp.ones(tokens.shape, bool))[0])

    oracle = rain_search.Search(settings, hidden, logits, value, TEXTS, eos=[EOS], stop=STOP)
    return oracle.run(PROMPTS[row], jax.random.fold_in(KEY, row))


def visited(tree):
    """Of a tree's visited nodes by path what the oracle's snapshot has of them."""
    found, below = {}, [((), int(tree.root), ())]
    while below:
        path, node, tokens = below.pop()
        numbers = float(tree.visits[node]), int(tree.true_visits[node]), float(tree.value[node])
        shown = tree.shown[node]
        found[path] = (tokens, *numbers, tuple(shown[shown >= 0].tolist()), float(tree.verdict[node]))
        for slot in range(tree.child_count[node]):
            if tree.child_node[node, slot] >= 0:
                said = tree.child_tokens[node, slot, : tree.child_length[node, slot]]
                below.append(((*path, slot), int(tree.child_node[node, slot]), tuple(said.tolist())))
    return found


def assert_same_trees(ours, theirs):
    assert len(ours) == len(theirs)
    for tree, nodes in zip(ours, theirs):
        found = visited(tree)
        assert found.keys() == nodes.keys()
        for path, (tokens, *numbers, shown, verdict) in nodes.items():
            assert found[path][0] == (tokens if path else ())
            assert found[path][1:4] == pytest.approx(numbers, abs=1e-4)
            assert found[path][4] == shown
            assert found[path][5] == pytest.approx(verdict, abs=1e-5)


@pytest.mark.parametrize(("kind", "settings"), [("odd", SETTINGS), ("mostly bad", SETTINGS), ("mostly bad", RELEASED)])
def test_same_trees_and_text_as_the_plain_loop(kind, settings, monkeypatch):
    seen = collections.Counter()
    widen, similar = rain_tree.widen, rain_tree.visit_similar

    def counted_widen(settings, node, *rest):
        new = widen(settings, node, *rest)
        seen["widened", len(new)] += 1
        return new

    def counted_similar(*args):
        found = similar(*args)
        seen["similar"] += sum(weight > 0 for *_, weight in found)
        return found

    monkeypatch.setattr(rain_tree, "widen", counted_widen)
    monkeypatch.setattr(rain_tree, "visit_similar", counted_similar)
    for seed in (0, 1):
        params = sharp(seed)
        result = run(params, PROMPTS[:3], kind, settings, slots=3, trees=True)
        for row in range(3):
            oracle = plain(params, row, kind, settings)
            new = oracle.new[: SETTINGS.max_new_tokens]
            said = oracle.without_stop(new)
            assert result.tokens[row] == said[: len(said) - (settings is SETTINGS and said[-1:] == [EOS])]
            assert result.finished[row] == oracle.is_over(new)
            assert result.searches[row] == oracle.searches
            assert result.judged[row] == (len(oracle.judged) if settings.remember_values else oracle.searches)
            assert result.values[row] == pytest.approx(oracle.value, abs=1e-5)
            assert_same_trees(result.trees[row], oracle.commits)
            seen["over"] += result.finished[row]
    assert seen["similar"]
    assert seen["over"]
    if kind == "mostly bad":
        assert seen["widened", 0]
        assert seen["widened", 1]


@pytest.fixture(scope="module")
def alone(params):
    """All prompts one after the other, and how many forward passes of the model ran."""
    passes = [0]

    def counted(forward):
        def hidden_cached(*args, **options):
            jax.debug.callback(lambda: passes.__setitem__(0, passes[0] + 1))
            return forward(*args, **options)

        return hidden_cached

    with pytest.MonkeyPatch.context() as patch:
        for module in (refill, rollouts, simulate, visit):
            patch.setattr(module, "hidden_cached", counted(module.hidden_cached))
        result = run(params, slots=1)
        jax.effects_barrier()
    return result, passes[0]


@pytest.fixture(scope="module")
def together(params):
    return run(params, slots=4, group=2)


def test_a_prompt_does_not_notice_the_batch_it_is_searched_in(alone, together):
    for name in ("tokens", "searches", "visits", "commits", "passes", "tokens_processed", "judged", "finished"):
        assert getattr(alone[0], name) == getattr(together, name), name
    np.testing.assert_allclose(alone[0].values, together.values, atol=1e-5)


def test_a_prompt_does_not_notice_how_many_programs_search_at_once(params, alone):
    seen = []
    result = run(params, slots=2, programs=2, progress=lambda *numbers: seen.append(numbers))
    for name in ("tokens", "searches", "visits", "passes", "values", "total_passes", "rounds", "utilisation"):
        assert getattr(result, name) == getattr(alone[0], name), name
    assert seen == [(n + 1, len(PROMPTS)) for n in range(len(PROMPTS))]


def test_an_error_of_whoever_listens_stops_all_programs(params):
    def fail(row, found):
        raise OSError("the disk is full")

    before = threading.active_count()
    with pytest.raises(OSError, match="the disk is full"):
        run(params, slots=2, programs=2, on_finished=fail)
    assert threading.active_count() == before


def test_passes_are_those_that_ran(alone):
    """The model's, counted where they run, and one of the judge for each text that it is shown."""
    result, passes = alone
    assert result.total_passes == sum(result.passes) == passes + sum(result.judged)


def test_slots_are_refilled_from_the_queue(alone, together):
    assert alone[0].utilisation == 1.0
    assert alone[0].rounds == sum(alone[0].searches)
    assert 0.5 < together.utilisation < 1.0
    assert together.rounds < alone[0].rounds
    assert together.total_passes < alone[0].total_passes


def test_draws_follow_row_ids_and_not_places(params, together):
    order = [3, 1, 5, 0]
    again = run(params, [PROMPTS[row] for row in order], slots=4, group=2, row_ids=order)
    assert again.tokens == [together.tokens[row] for row in order]


def test_what_is_left_of_a_stopped_job_is_searched_as_it_would_have_been(params, together):
    """Each prompt is handed over when it is finished, and the others are searched later, to the same texts."""
    seen = {}

    def stop_after_two(row, found):
        seen[row] = found
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(params, slots=4, group=2, on_finished=stop_after_two)
    left = [row for row in range(len(PROMPTS)) if row not in seen]
    rest = run(params, slots=4, group=2, rows=left, on_finished=seen.__setitem__)
    assert len(seen) == len(PROMPTS)
    assert len(rest.tokens) == len(left) == len(PROMPTS) - 2
    for row, found in seen.items():
        assert (found.text, found.tokens) == (together.texts[row], together.tokens[row])
        assert (found.searches, found.passes) == (together.searches[row], together.passes[row])
        assert found.trees is None


def test_trees_are_handed_over_once(params):
    seen = {}
    result = run(params, PROMPTS[:2], slots=2, group=2, trees=True, on_finished=seen.__setitem__)
    assert [len(seen[row].trees) for row in (0, 1)] == result.commits
    assert result.trees is None


def test_texts_are_cut_at_what_ends_them(together):
    for text, tokens in zip(together.texts, together.tokens):
        assert EOS not in tokens
        assert not any(stop in text for stop in STOP)
        assert text.startswith(TOKENIZER.decode(tokens))


def test_a_model_that_only_ends_texts_says_nothing(params):
    result = run(params, slots=4, group=2, eos=range(CONFIG.vocab_size))
    assert result.tokens == [[]] * len(PROMPTS)
    assert all(result.finished)
    assert result.commits == [1] * len(PROMPTS)


def test_a_judge_that_always_says_the_same(params):
    good = run(params, kind="good", slots=4, group=2)
    bad = run(params, kind="bad", slots=4, group=2)
    assert good.values == pytest.approx([1.0] * len(PROMPTS))
    assert bad.values == pytest.approx([-1.0] * len(PROMPTS))
    assert sum(good.searches) < sum(bad.searches)
    for searches, commits in zip(bad.searches, bad.commits):
        assert searches >= SETTINGS.max_searches + (commits - 1) * SETTINGS.floor_searches


def test_a_full_tree_is_reported(params):
    tight = dataclasses.replace(SETTINGS, nodes=6, max_depth=2)
    result = run(params, PROMPTS[:4], kind="bad", settings=tight, slots=4, group=2)
    assert all(result.truncated)
    assert all(result.commits)


def test_a_leaf_too_deep_for_children_is_reported(params, together):
    assert not any(together.truncated)
    shallow = dataclasses.replace(SETTINGS, max_depth=1)
    result = run(params, PROMPTS[:2], kind="bad", settings=shallow, slots=4, group=2, trees=True)
    assert result.truncated == [True, True]
    assert not any(tree.overflow for trees in result.trees for tree in trees)


def test_a_judge_is_not_shown_the_bos_and_is_shown_ends_of_turns(params):
    prompts = [[7, 1, 2], [7], [1, 7, 2], [7, 7, 2], [1, EOS, 2], [1, 2, EOS]]
    tokenizer = Spelling(TEXTS, special={EOS})
    tokenizer.bos_token_id = 7
    how = {"prompts": prompts, "slots": 4, "group": 2}
    assert run(params, kind="begins with 7", tokenizer=tokenizer, **how).values == [-1, 1, -1, 1, -1, -1]
    assert run(params, kind="begins with 7", **how).values == [1, 1, -1, 1, -1, -1]
    assert run(params, kind="begins with 7", tokenizer=tokenizer, judged_from=[0] * 6, **how).values[0] == 1
    assert run(params, kind="has an end", **how).values == [-1, -1, -1, -1, 1, 1]


def test_any_kind_of_random_key(params, together):
    def search_with(key):
        options = {"eos": [EOS], "stop": STOP, "tokenizer": TOKENIZER, "programs": 1, "slots": 4, "group": 2}
        return search(params, CONFIG, PROMPTS, key, judge=judge_of("odd"), settings=SETTINGS, **options)

    assert search_with(jax.random.PRNGKey(3)).tokens == together.tokens
    with pytest.raises(TypeError, match="key=3 is not a random key"):
        search_with(3)


def test_what_cannot_be_searched(params):
    with pytest.raises(ValueError, match="prompt 1 is empty"):
        run(params, [[1], []])
    with pytest.raises(ValueError, match="prompt 0 has 60 tokens and its search reads up to 18 after it"):
        run(params, [[1] * 60])
    with pytest.raises(ValueError, match="judged_from=4: expected a number from 0 to 3"):
        run(params, [[1, 2, 3]], judged_from=[4])
    with pytest.raises(ValueError, match="2 numbers in judged_from for 1 prompts"):
        run(params, [[1, 2, 3]], judged_from=[0, 0])
    with pytest.raises(ValueError, match="rows=6: expected numbers of the 6 prompts"):
        run(params, rows=[6])
    with pytest.raises(ValueError, match="in rows twice"):
        run(params, rows=[1, 1])
    with pytest.raises(ValueError, match="slots=0"):
        run(params, slots=0)
    with pytest.raises(ValueError, match="programs=0"):
        run(params, programs=0)
    with pytest.raises(ValueError, match="may have 21 tokens, and the judge's prompt leaves room for 20"):
        search(params, CONFIG, [[1, 2, 3]], KEY, judge=judge_of("odd").replace(room=20), settings=SETTINGS)


def test_a_search_that_cannot_fit_says_so_before_it_starts(params, monkeypatch):
    monkeypatch.setattr(resources, "device_memory", lambda: 1 << 16)
    monkeypatch.setattr(host, "empty", None)  # nothing is made
    with pytest.raises(resources.DoesNotFitError, match=r"the search needs .* use fewer slots"):
        run(params, slots=4)


def test_no_prompts_are_no_work(params):
    result = run(params, [])
    assert result.tokens == result.texts == []
    assert result.rounds == 0
