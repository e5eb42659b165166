"""Rankings and evaluations: the statistics by hand, and every known defect of such files."""

import json
import statistics as st

import pytest
from oracles.recorded_files import ranking

from seal_jax.seal import recorded
from seal_jax.seal.rest_em import write_sft_jsonl

OVERALL = {
    "baseline_mean_accuracy": round((0 + 0.6667) / 2, 4),
    "baseline_std_of_article_means": round(st.stdev([0, 0.6667]), 4),
    "adapter_mean_accuracy": round((0.25 + 0.666675) / 2, 4),
    "adapter_std_of_article_means": round(st.stdev([0.25, 0.666675]), 4),
    "mean_adapter_std_over_completions": round((st.stdev([0.5, 0]) + st.stdev([0.6667, 0.66665])) / 2, 4),
    "mean_adapter_std_within_completions": round((st.stdev([0.3333, 0.6667]) + st.stdev([0.3333, 1])) / 4, 4),
    "mean_gain": round((0.25 + 0.666675) / 2 - 0.6667 / 2, 4),
}


def completions(value):
    return [completion for article in value["articles"] for completion in article["completions"]]


def test_statistics_by_hand(save):
    found = recorded.aggregate([save(ranking())])
    assert (found.kind, found.result, found.notes) == ("results", {"overall": OVERALL}, [])
    assert list(found.result["overall"]) == list(OVERALL)  # the keys in the order of the reference


def test_the_stored_figures_are_not_copied(save):
    value = ranking()
    value["overall"] = {"mean_gain": 0.9, "adapter_mean_accuracy": None, "other": "x"}
    value["articles"][1]["completions"][0]["stats"]["adapter_mean"] = 0.123
    value["n_articles"], value["eval_times"] = 3, None
    found = recorded.aggregate([save(value)])
    assert found.result["overall"] == OVERALL
    assert "1 of 4 completions store another adapter_mean" in found.notes[0]
    assert "article 1, completion 0" in found.notes[0]
    assert "n_articles is 3; the lists have 2" in found.notes
    assert "eval_times is None; the lists have 2" in found.notes
    assert "the file states mean_gain 0.9; recomputed, it is 0.125" in found.notes


def test_unneeded_keys_may_be_missing_or_named_differently(save):
    value = ranking()
    value["model"] = value.pop("exp_name")
    for key in ("overall", "timestamp", "lora_params", "n_articles", "split_newlines"):
        del value[key]
    for article in value["articles"]:
        del article["stats"], article["title"], article["context"]
    for completion in completions(value):
        del completion["stats"]
    assert recorded.aggregate([save(value)]).result["overall"] == OVERALL


def rebuilt_from_logs():
    """As rank_iter1: no verdicts, and null where the logs had nothing."""
    value = ranking()
    value["split_newlines"] = False
    for completion in completions(value):
        completion["questions"] = []
        completion["stats"]["baseline_std"] = None
    for article in value["articles"]:
        article["stats"]["mean_adapter_std_within_completions"] = None
    return value


def test_only_stored_completion_means_are_left(save):
    found = recorded.aggregate([save(rebuilt_from_logs())])
    assert found.result["overall"] == pytest.approx(OVERALL, abs=1e-4)
    assert found.notes == [
        f"4 of 4 completions have no verdicts; their stored means were used (stored_completion_means), first: "
        f"{save(rebuilt_from_logs())}: article 0, completion 0"
    ]


WITHIN = "mean_adapter_std_within_completions"


@pytest.mark.parametrize("nothing", [None, float("nan"), float("inf")])
def test_a_spread_that_nobody_recorded_is_null(save, nothing):
    value = rebuilt_from_logs()
    for completion in completions(value):
        completion["stats"]["adapter_std"] = nothing
    found = recorded.aggregate([save(value)])
    within = found.result["overall"].pop(WITHIN)
    assert within != within
    assert found.result["overall"] == pytest.approx({k: v for k, v in OVERALL.items() if k != WITHIN}, abs=1e-4)
    assert f"{WITHIN} is null: nothing it could be computed from is recorded" in found.notes
    for article, std in zip(value["articles"], (0.2, 0.4)):  # the articles' own figure is all there is
        article["stats"][WITHIN] = std
    assert recorded.aggregate([save(value)]).result["overall"][WITHIN] == 0.3


def test_a_figure_that_only_the_file_itself_states_is_kept_and_told(save):
    value = rebuilt_from_logs()
    value["overall"] = {WITHIN: 0.1905}
    for completion in completions(value):
        completion["stats"]["adapter_std"] = None
    found = recorded.aggregate([save(value)])
    assert found.result["overall"][WITHIN] == 0.1905
    assert f"{WITHIN} 0.1905 is copied: the file states it, and nothing it could be computed from" in found.notes[-1]
    value["overall"] = {WITHIN: None}  # null there as well: as in rank_iter1 at all its levels
    assert f"{WITHIN} is null: nothing it could be computed from is recorded" in recorded.aggregate([save(value)]).notes


@pytest.mark.parametrize("known", ["completions", "articles"])
def test_a_figure_that_the_file_has_as_null_is_computed_and_told(save, known):
    value = rebuilt_from_logs()
    value["overall"] = {WITHIN: None}
    want = OVERALL[WITHIN]
    if known == "articles":
        want = 0.3
        for completion in completions(value):
            completion["stats"]["adapter_std"] = None
        for article, std in zip(value["articles"], (0.2, 0.4)):
            article["stats"][WITHIN] = std
    found = recorded.aggregate([save(value)])
    assert found.result["overall"][WITHIN] == pytest.approx(want, abs=1e-4)
    assert found.notes[-1] == f"the file states {WITHIN} null; recomputed, it is {found.result['overall'][WITHIN]}"


def test_the_last_decimal_of_figures_from_rounded_ones_is_that_of_the_file(save):
    """Means of numbers with 4 decimals are off by up to one in the fourth; the stored figure had all of theirs."""
    value = rebuilt_from_logs()
    for completion in completions(value):
        completion["stats"]["adapter_std"] = None
    for article, std in zip(value["articles"], (0.1593, 0.1592)):
        article["stats"][WITHIN] = std
    value["overall"] = {WITHIN: 0.1592}
    value["articles"][0]["stats"][WITHIN] = 0.1594
    found = recorded.aggregate([save(value)])
    assert found.result["overall"][WITHIN] == 0.1592
    assert (
        f"{WITHIN} 0.1592 is the file's own figure; the stored values it is a mean of, which may be" in found.notes[-1]
    )
    value["overall"][WITHIN] = 0.1595  # no rounding does that
    found = recorded.aggregate([save(value)])
    assert found.result["overall"][WITHIN] == 0.1593
    assert found.notes[-1] == f"the file states {WITHIN} 0.1595; recomputed, it is 0.1593"


def test_with_verdicts_no_decimal_is_that_of_the_file(save):
    value = ranking()
    value["overall"] = {key: round(figure + 1e-4, 4) for key, figure in OVERALL.items()}
    assert recorded.aggregate([save(value)]).result["overall"] == OVERALL


def test_stored_article_figures_where_completions_have_none(save):
    value = rebuilt_from_logs()
    for article, accuracy in zip(value["articles"], (0.2, 0.5)):
        article["stats"] |= {"baseline_accuracy": 0.1, "adapter_mean_accuracy": accuracy}
        for completion in article["completions"]:
            completion["stats"] = None
    found = recorded.aggregate([save(value)])
    overall = found.result["overall"]
    assert (overall["baseline_mean_accuracy"], overall["adapter_mean_accuracy"], overall["mean_gain"]) == (
        0.1,
        0.35,
        0.25,
    )
    assert overall["adapter_std_of_article_means"] == round(st.stdev([0.2, 0.5]), 4)
    assert "2 of 2 articles have nothing but stored figures of their own, which were used, first: " in found.notes[1]
    value["articles"][0]["stats"]["adapter_mean_accuracy"] = 1.5
    with pytest.raises(ValueError, match=r"article 0, stats: 'adapter_mean_accuracy' is 1.5; expected an accuracy"):
        recorded.aggregate([save(value)])


def test_what_the_figures_are_of(save):
    value = ranking()
    assert recorded.aggregate([save(value)]).source == "verdicts"
    value["articles"][0]["completions"][0]["questions"] = None
    assert recorded.aggregate([save(value)]).source == "verdicts and stored statistics"
    assert recorded.aggregate([save(rebuilt_from_logs())]).source == "stored statistics"
    value = rebuilt_from_logs()
    for article in value["articles"]:
        article |= {"completions": [], "stats": {"adapter_mean_accuracy": 0.5}}
    assert recorded.aggregate([save(value)]).source == "stored statistics"


def test_missing_stored_means_are_told(save):
    value = ranking()
    value["articles"][0]["completions"][0]["stats"]["adapter_mean"] = float("nan")
    del value["articles"][1]["completions"][1]["stats"]
    path = save(value)
    first = f"first: {path}: article 0, completion 0"
    assert recorded.aggregate([path]).notes == [
        f"2 of 4 completions store no adapter_mean; their verdicts have one, {first}"
    ]
    found = recorded.selection(path)
    assert found.notes == [f"2 of 4 completions store no adapter_mean; that of their verdicts counts, {first}"]
    assert found.chosen == [[0], [0]]


def test_ungraded_verdicts_do_not_count(save):
    value = ranking()
    for question in value["articles"][0]["completions"][0]["questions"]:
        if not question["adapter_correct"]:
            question["adapter_correct"] = None
    found = recorded.aggregate([save(value)])
    assert found.result["overall"]["adapter_mean_accuracy"] == round((0.5 + 0.666675) / 2, 4)
    assert "3 verdicts are null: ungraded, not counted" in found.notes


def test_runs_of_different_length_and_an_article_without_completions(save):
    value = ranking()
    del value["articles"][0]["completions"][1]["questions"][-1]
    value["articles"].append({**value["articles"][0], "completions": []})
    value["n_articles"] = 3
    found = recorded.aggregate([save(value)])
    assert found.result["overall"] == OVERALL
    assert "1 of 4 completions have runs with different numbers of questions" in found.notes[0]
    assert "1 of 3 articles say nothing and do not count" in found.notes[1]
    assert found.notes[2] == "k_completions is 2; the lists have 0, 2"


def test_one_completion_and_one_run_have_no_spread(save):
    value = ranking()
    for article in value["articles"]:
        article["completions"] = article["completions"][:1]
        questions = article["completions"][0]["questions"]
        article["completions"][0]["questions"] = [
            {**q, "baseline_correct": int(q["baseline_correct"])} for q in questions[:3]
        ]
    overall = recorded.aggregate([save(value)]).result["overall"]
    assert overall["mean_adapter_std_over_completions"] == overall["mean_adapter_std_within_completions"] == 0.0


def test_nothing_to_aggregate(save):
    value = ranking()
    for article in value["articles"]:
        article["completions"] = []
    with pytest.raises(ValueError, match="none of the 2 articles has a question with a verdict or a completion"):
        recorded.aggregate([save(value)])
    with pytest.raises(ValueError, match=r"file\.json: there is no article in the file"):
        recorded.aggregate([save({**ranking(), "articles": []})])


def test_selection(save):
    path = save(ranking())
    found = recorded.selection(path)
    assert found.rows == [{"prompt": "P0\n", "completion": "one"}, {"prompt": "P1\n", "completion": "three"}]
    assert (found.chosen, found.notes) == ([[0], [0]], [])
    assert recorded.selection(path, k_best=2).chosen == [[0, 1], [0, 1]]
    assert recorded.selection(path, k_best=9).chosen == [[0, 1], [0, 1]]


def test_selection_from_stored_means(save):
    found = recorded.selection(save(rebuilt_from_logs()))
    assert found.chosen == [[0], [0]]
    assert found.notes == ["4 of 4 completions have no verdicts; their stored means are used (stored_completion_means)"]


def test_the_stored_reward_counts_and_its_conflict_with_verdicts_is_told(save):
    value = ranking()
    value["articles"][0]["completions"][1]["stats"]["adapter_mean"] = 0.75
    found = recorded.selection(save(value))
    assert found.chosen == [[1], [0]]
    assert "1 of 4 completions store another adapter_mean than that of their verdicts; the stored one" in found.notes[0]
    value["articles"][0]["completions"][1]["stats"] = None  # and without one, the verdicts do
    assert recorded.selection(save(value)).chosen == [[0], [0]]


def test_ties_blanks_and_missing_rewards(save):
    value = rebuilt_from_logs()
    first, second = (article["completions"] for article in value["articles"])
    first[0]["text"] = " \n"
    second[0]["stats"]["adapter_mean"] = second[1]["stats"]["adapter_mean"]
    assert recorded.selection(save(value)).chosen == [[1], [0]]
    second[0]["stats"]["adapter_mean"] = None
    first[1]["stats"]["adapter_mean"] = float("nan")
    found = recorded.selection(save(value))
    assert found.chosen == [[], [1]]
    assert found.notes[1] == "2 of 4 completions have no reward and are not chosen"
    assert "1 articles give no row, first: " in found.notes[2]
    second[1]["text"] = ""
    with pytest.raises(ValueError, match="nothing can be chosen: of 4 completions, 2 are blank and 2 have no reward"):
        recorded.selection(save(value))


def test_selection_of_text_from_other_scripts_and_half_an_emoji(save, tmp_path):
    value = ranking()
    value["articles"][0]["completions"][0]["text"] = " Ærø\u2028\ud83d "
    path = tmp_path / "out.jsonl"
    write_sft_jsonl(path, recorded.selection(save(value)).rows)
    lines = path.read_bytes().split(b"\n")
    assert json.loads(lines[0]) == {"prompt": "P0\n", "completion": "Ærø\u2028\ud83d"}
    assert "Ærø\u2028".encode() in lines[0]
