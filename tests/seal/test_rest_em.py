"""Selection: the recorded training sets byte for byte, ties, blanks, the improvement filter, random choice."""

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given

from seal_jax.seal.rest_em import random_choice, select, sft_rows, write_sft_jsonl


def recorded(path):
    articles = json.loads(path.read_text())["articles"]
    completions = [[c["text"] for c in a["completions"]] for a in articles]
    columns = {k: [[c["stats"][k] for c in a["completions"]] for a in articles] for k in ("adapter_mean", "gain_mean")}
    return [a["prompt"] for a in articles], completions, columns


def test_recorded_training_sets_byte_for_byte(shared_data, tmp_path):
    folder = shared_data / "seal_recorded"
    rankings = sorted((folder / "ranking").glob("rank_*.json"))
    assert rankings
    for ranking in rankings:
        prompts, completions, columns = recorded(ranking)
        rows = sft_rows(prompts, completions, select(columns["adapter_mean"], completions))
        write_sft_jsonl(tmp_path / "out.jsonl", rows)
        stored = folder / "sft" / ranking.name.replace("rank_", "sft_best1of5_").replace(".json", ".jsonl")
        assert (tmp_path / "out.jsonl").read_bytes() == stored.read_bytes()
        # The check tells rewards apart: by gain over the baseline, other edits are chosen.
        assert sft_rows(prompts, completions, select(columns["gain_mean"], completions)) != rows


def test_ties_blanks_and_rewards_that_are_not_numbers():
    assert select([[1.0, 2.0, 2.0]], [["a", "b", "c"]]) == [[1]]
    assert select([[3.0, 2.0, 1.0]], [["  \n", "b", "c"]], k_best=2) == [[1, 2]]
    assert select([[float("nan"), float("-inf"), 0.0]], [["a", "b", "c"]], k_best=3) == [[2]]
    assert select([[1.0]], [[""]]) == [[]]


def test_only_edits_that_improve():
    rewards, texts = [[0.2, 0.5, 0.3], [0.1, 0.1, 0.0]], [["a", "b", "c"]] * 2
    assert select(rewards, texts, positive=True, baseline=[0.25, 0.1]) == [[1], []]
    assert select(rewards, texts, k_best=None, positive=True, baseline=[0.25, 0.0]) == [[1, 2], [0, 1]]
    with pytest.raises(ValueError, match="give the baseline of each passage"):
        select(rewards, texts, positive=True)


@given(st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=6), max_size=5), st.integers(1, 4))
def test_selection_is_a_stable_sort(rewards, k_best):
    texts = [[f"edit {i}" for i in range(len(row))] for row in rewards]
    for row, chosen in zip(rewards, select(rewards, texts, k_best), strict=True):
        order = [i for _, i in sorted((-value, i) for i, value in enumerate(row))]
        assert chosen == order[:k_best]


@given(
    st.lists(st.lists(st.sampled_from(["", " ", "a", "b"]), max_size=6), max_size=6),
    st.integers(0, 3),
    st.integers(0, 9),
)
def test_random_choice(completions, count, seed):
    chosen = random_choice(completions, [count] * len(completions), seed)
    for texts, indices in zip(completions, chosen, strict=True):
        assert len(set(indices)) == len(indices) == min(count, sum(bool(t.strip()) for t in texts))
        assert all(texts[i].strip() for i in indices)
    head = completions[:2]
    assert random_choice(head, [count] * len(head), seed) == chosen[:2]  # later passages change nothing


def test_random_choice_is_even_and_differs_by_seed():
    texts = [["a", "b", "c", "d"]] * 2000
    picks = [row[0] for row in random_choice(texts, [1] * 2000, seed=1)]
    assert all(400 < picks.count(i) < 600 for i in range(4))
    assert picks != [row[0] for row in random_choice(texts, [1] * 2000, seed=2)]


def test_rows_keep_other_scripts_and_strip(tmp_path):
    write_sft_jsonl(tmp_path / "x.jsonl", sft_rows(["p\n"], [["no", " Ærø\n"]], [[1]]))
    assert (tmp_path / "x.jsonl").read_bytes() == '{"prompt": "p\\n", "completion": "Ærø"}\n'.encode()


def test_lists_that_do_not_match():
    with pytest.raises(ValueError, match="passage 1: 2 rewards for 1 completions"):
        select([[1.0], [1.0, 2.0]], [["a"], ["b"]])
    with pytest.raises(ValueError, match="passages: 2 with rewards, 1 with edits"):
        select([[1.0], [1.0]], [["a"]])
    with pytest.raises(ValueError, match="keep one edit or more"):
        select([[1.0]], [["a"]], k_best=0)
    with pytest.raises(ValueError, match="1 passages have completions and 2 a count"):
        random_choice([["a"]], [1, 1], seed=0)
    with pytest.raises(ValueError, match="1 with prompts, 1 with edits, 0 chosen"):
        sft_rows(["p"], [["a"]], [])
