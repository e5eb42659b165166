"""ARC self-edits: the schema, the released code's rules as recorded, taking responses, and the prompts."""

import json
import os
import pathlib
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seal_jax.data import arc as tasks
from seal_jax.seal import arc
from seal_jax.seal.arc import edits, reference

GOOD = arc.EditConfig(("basic", "repeat"), "train_using_output_tokens", 1e-4, 2)
CONFIGS = st.builds(
    arc.EditConfig,
    st.sets(st.sampled_from(edits.GROUPS)).map(lambda chosen: tuple(g for g in edits.GROUPS if g in chosen)),
    st.sampled_from(edits.STRATEGIES),
    st.floats(0, 1, exclude_min=True),
    st.integers(0, 751),
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
KEYS = st.sampled_from([*edits.FLAGS, *edits.TRAINING_KEYS, "data_generation", "training", "x"])
NESTED = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=8))


@pytest.fixture(scope="module")
def golden(shared_data):
    return json.loads(pathlib.Path(os.environ.get("ARC_GOLDEN", shared_data / "golden/arc.json")).read_text())


def changed(block, key, value):
    config = json.loads(GOOD.to_json())
    config[block][key] = value
    return json.dumps(config)


@given(CONFIGS)
def test_an_edit_is_read_back(config):
    assert arc.parse_edit(config.to_json()) == arc.parse_edit(config.to_json(), rules="reference") == config


@given(st.text() | NESTED.map(json.dumps) | NESTED.map(lambda x: changed("training", "num_train_epochs", x)))
@example("[" * 100_000)
@example('{"a":' * 100_000)
@example("1" * 10_000)
@example("NaN")
@example("\ufeff" + GOOD.to_json())
@example(GOOD.to_json().replace(": 2}", ": ٢}"))
@example(GOOD.to_json().replace("2}", "9" * 4000 + "}"))
@example(GOOD.to_json().replace("2}", "9" * 5000 + "}"))
@example(GOOD.to_json().replace("0.0001", "1e999"))
@example(GOOD.to_json().replace("true", "[" * 900 + "]" * 900))
@example("\ud800")
def test_no_text_breaks_it(text):
    edit = arc.parse_edit(text)
    if isinstance(edit, arc.EditConfig):
        assert 0 < edit.learning_rate <= 1
        assert 0 <= edit.epochs <= 751
        assert arc.parse_edit(edit.to_json()) == edit
    else:
        assert 0 < len(edit.reason) < 300
    permissive = arc.parse_edit(text, rules="reference")
    assert isinstance(permissive, arc.EditConfig | arc.Refused)
    assert isinstance(edit, arc.Refused) or permissive == edit  # what we take, the released code takes
    for n in (0, 3, 250):
        reference.resolve(text, n)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Here: " + GOOD.to_json(), "not JSON"),
        ("[]", "the response should be an object, not a list"),
        ('{"data_generation": {}}', "lacks 'training'"),
        (GOOD.to_json()[:-1] + ', "note": 1}', "unknown 'note'"),
        (changed("training", "batch_size", 4), "training has the unknown 'batch_size'"),
        (changed("data_generation", "use_basic_augmentations", 1), "true or false, not 1"),
        (changed("data_generation", "use_size_augmentations", "false"), "not 'false'"),
        (changed("training", "strategy", "Train_Using_All_Tokens"), "strategy should be one of"),
        (changed("training", "strategy", []), "strategy should be one of .*, not a list"),
        (changed("training", "learning_rate", 0), r"in \(0, 1\], not 0"),
        (changed("training", "learning_rate", 1.5), "not 1.5"),
        (changed("training", "learning_rate", True), "not True"),
        (changed("training", "learning_rate", "1e-4"), "not '1e-4'"),
        (changed("training", "num_train_epochs", -1), "from 0 to 751, not -1"),
        (changed("training", "num_train_epochs", 2.0), r"not 2\.0"),
        (changed("training", "num_train_epochs", float("inf")), "Infinity is not a JSON number"),
        (changed("training", "num_train_epochs", 752), "not 752"),
    ],
)
def test_refusals_say_why(text, reason):
    refused = arc.parse_edit(text)
    assert isinstance(refused, arc.Refused)
    assert re.search(reason, refused.reason)


def test_bounds_can_be_set_and_steps_are_counted():
    assert arc.parse_edit(GOOD.to_json(), arc.Limits(learning_rate=1e-5)).reason.endswith("not 0.0001")
    three, four = (GOOD.__class__(GOOD.groups, GOOD.strategy, 1e-4, n) for n in (3, 4))
    assert arc.limit_steps(three, 250) == three
    assert "500 steps; 375 allowed" in arc.limit_steps(four, 250).reason
    assert arc.limit_steps(four, 250, arc.Limits(steps=500)) == four
    assert "no training sequence" in arc.limit_steps(GOOD, 0).reason


def test_recorded_configs(golden):
    for case in golden["config_vectors"]:
        found = reference.resolve(case["text"], case["n_sequences"])
        assert found.outcome == case["outcome"], case["note"]
        expected = case.get("normalised")
        if expected is None:
            continue
        epochs = expected["num_train_epochs"]
        assert {group: group in found.groups for group in edits.GROUPS} == expected["groups"], case["note"]
        assert found.learning_rate == expected["learning_rate"], case["note"]
        assert (str(found.epochs) if isinstance(epochs, str) else found.epochs) == epochs, case["note"]
        assert (found.all_tokens, found.strategy) == (expected["loss_on_all_tokens"], case["recorded_strategy"])


def test_recorded_configs_by_our_rules(golden):
    """Where the schema is stricter: a subset is taken, and everything the released code could not read is refused."""
    for case in golden["config_vectors"]:
        edit = arc.parse_edit(case["text"])
        if case["outcome"] in ("rejected_resample", "reference_crashes"):
            assert isinstance(edit, arc.Refused), case["note"]
        limited = arc.limit_steps(edit, case["n_sequences"]) if isinstance(edit, arc.EditConfig) else edit
        if isinstance(limited, arc.EditConfig):
            assert case["outcome"] == ("accepted_trains" if limited.epochs else "accepted_zero_epochs")
            assert limited.epochs == case["normalised"]["num_train_epochs"]
        elif case["rule"] == "valid":
            assert "unknown" in limited.reason


def test_recorded_sequences(golden):
    for case in golden["config_sequence_vectors"]:
        draws = arc.accept_responses(
            case["responses"], case["quota"], skip_repeated=case["skip_repeated_configs"], rules="reference"
        )
        numbers = arc.adapter_texts(draws, case["responses"], case["n_sequences_per_accepted_config"])
        expected = case["adapter_index_to_response_text_index"]
        assert (draws.consumed, draws.end) == (case["responses_consumed"], case["end"]), case["note"]
        assert numbers == (None if expected is None else {int(k): v for k, v in expected.items()}), case["note"]
        assert len(numbers or {}) == case["adapters_trained"]


def test_asking_stops():
    def endless():
        while True:
            yield "no"

    draws = arc.accept_responses(endless(), 2, most=7)
    assert (draws.consumed, draws.end, len(draws.refused)) == (7, "capped", 7)
    other = changed("training", "num_train_epochs", 1)
    asked = iter([GOOD.to_json(), "{}", GOOD.to_json(), other, other])
    draws = arc.accept_responses(asked, 2, skip_repeated=True)
    assert (draws.accepted, draws.edits, draws.end) == ([0, 3], [GOOD, arc.parse_edit(other)], "done")
    assert [position for position, _ in draws.refused] == [1, 2]
    assert list(asked) == [other]  # no more were asked for
    assert arc.accept_responses([GOOD.to_json()], 2).end == "would_ask_again"
    assert arc.accept_responses(endless(), 0).consumed == 0


def test_prompts(tmp_path):
    task = tasks.Task("x", (tasks.Example(((1,),), ((2,),)),), (tasks.Example(((9,),), None),))
    shown = arc.edit_prompt(task)
    assert "[[1]] -> [[2]]#\n" in shown
    assert "9" not in shown.split("---")[0]  # the test plays no part
    for key in (*edits.FLAGS, *edits.TRAINING_KEYS, *edits.STRATEGIES):
        assert key in shown
    assert arc.edit_prompt(task, "arc-edit-plain") == "[[1]] -> [[2]]#\nedit"
    assert arc.instruction("arc-task-plain") == ""
    assert arc.instruction().endswith("#.\n")
    (tmp_path / "mine.txt").write_text("Look: {demos}Go")
    assert arc.edit_prompt(task, str(tmp_path / "mine.txt")) == "Look: [[1]] -> [[2]]#\nGo"


def test_prompts_as_turns():
    class Chat:
        chat_template = "yes"
        bos_token = None

        def apply_chat_template(self, turns, **_):
            return turns

    task = tasks.Task("x", (tasks.Example(((1,),), ((2,),)),), ())
    system, user = arc.edit_prompt(task, tokenizer=Chat())
    assert system["role"] == "system"
    assert user["content"].startswith("[[1]] -> [[2]]#\n")
    assert "use_basic_augmentations" in user["content"]
    assert arc.edit_prompt(task, "arc-edit-plain", Chat()) == [{"role": "user", "content": "[[1]] -> [[2]]#\nedit"}]
