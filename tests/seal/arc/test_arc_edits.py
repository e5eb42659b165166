"""ARC self-edits: the schema, the released code's rules as recorded, taking responses, and the prompts."""

import dataclasses
import json
import os
import pathlib
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seal_jax.data import arc as tasks
from seal_jax.seal import arc
from seal_jax.seal.arc import accept, reference, schema, settings, ttt
from seal_jax.seal.arc.texts import Sequences

GOOD = arc.EditConfig(("basic", "repeat"), "train_using_output_tokens", 1e-4, 2)
CONFIGS = st.builds(
    arc.EditConfig,
    st.sets(st.sampled_from(schema.GROUPS)).map(lambda chosen: tuple(g for g in schema.GROUPS if g in chosen)),
    st.sampled_from(schema.STRATEGIES),
    st.floats(0, 1, exclude_min=True),
    st.integers(0, 751),
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
KEYS = st.sampled_from([*schema.FLAGS, *schema.TRAINING_KEYS, "data_generation", "training", "x"])
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
        (GOOD.to_json().replace('"training"', '"data_generation": {}, "training"'), "lacks 'use_basic_augmentations'"),
        (GOOD.to_json().replace('"training"', '"training": 1, "training"'), "states 'training' more than once"),
        (GOOD.to_json().replace("2}", '2, "num_train_epochs": 2}'), "states 'num_train_epochs' more than once"),
    ],
)
def test_refusals_say_why(text, reason):
    refused = arc.parse_edit(text)
    assert isinstance(refused, arc.Refused)
    assert re.search(reason, refused.reason)


@pytest.mark.parametrize("rules", ["ours", "reference"])
def test_what_is_not_text_is_no_edit(rules):
    """An endpoint can answer with anything that JSON holds."""
    for response in (None, 3, 10**5000, 1.5, b"{}", [], {}, json.loads(GOOD.to_json())):
        refused = arc.parse_edit(response, rules=rules)
        assert isinstance(refused, arc.Refused)
        assert refused.reason.startswith("not text but ")
        assert len(refused.reason) < 80
        draws = arc.accept_responses([response, GOOD.to_json()], 1, rules=rules)
        assert (draws.accepted, draws.edits, draws.end) == ([1], [GOOD], "done")
        assert draws.refused == [(0, refused.reason)]
        assert arc.accept_responses([response], 1, rules=rules).end == "would_ask_again"
        assert reference.resolve(response, 3).outcome == "rejected_resample"
        assert arc.adapter_texts(draws, [response, GOOD.to_json()], [3]) == {0: 1}


def test_rules_have_two_names():
    for call in (
        lambda: arc.parse_edit("{}", rules="theirs"),
        lambda: arc.limit_steps(GOOD, 2, rules="theirs"),
        lambda: arc.accept_responses([], 1, rules="theirs"),
        lambda: settings.Edits(rules="theirs"),
        lambda: settings.TestTime(rules="theirs"),
        lambda: settings.Prediction(rules="theirs"),
    ):
        with pytest.raises(ValueError, match="rules 'theirs' is not one of ours, reference"):
            call()


@pytest.mark.parametrize(("batch_size", "steps"), [(2, 375), (1, 375), (4, 100), (3, 0)])
def test_the_bound_on_epochs_is_what_the_released_count_leaves_to_one_sequence(batch_size, steps):
    """It rounds down, so there it is more than the steps that ours would run; those are counted apart."""
    limits = settings.TestTime(batch_size=batch_size, max_steps=steps).limits
    most, more = (dataclasses.replace(GOOD, epochs=limits.epochs + extra) for extra in (0, 1))
    assert arc.limit_steps(most, 1, limits, "reference") == most
    assert isinstance(arc.limit_steps(more, 1, limits, "reference"), arc.Refused)
    assert arc.parse_edit(most.to_json(), limits) == most
    assert f"from 0 to {limits.epochs}, not" in arc.parse_edit(more.to_json(), limits).reason
    assert settings.TestTime().limits == arc.Limits()


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4])
@pytest.mark.parametrize("sequences", [1, 2, 5, 7])
def test_steps_are_those_that_are_run(batch_size, sequences):
    """The count by which an edit is refused is the length of its fine-tune, part-empty steps included."""
    task = tasks.Task("x", (tasks.Example(((1,),), ((2,),)),), ())
    job = ttt.Job(task, dataclasses.replace(GOOD, epochs=3), Sequences([[0]] * sequences, [0] * sequences))
    steps = ttt.steps_of(job, batch_size)
    enough, short = (arc.Limits(steps=n, batch_size=batch_size) for n in (steps, steps - 1))
    assert arc.limit_steps(job.edit, sequences, enough) == job.edit
    assert f"are {steps} steps; {steps - 1} allowed" in arc.limit_steps(job.edit, sequences, short).reason


def test_bounds_can_be_set_and_steps_are_counted():
    assert arc.parse_edit(GOOD.to_json(), arc.Limits(learning_rate=1e-5)).reason.endswith("not 0.0001")
    three, four = (GOOD.__class__(GOOD.groups, GOOD.strategy, 1e-4, n) for n in (3, 4))
    assert arc.limit_steps(three, 250) == three
    assert "500 steps; 375 allowed" in arc.limit_steps(four, 250).reason
    assert arc.limit_steps(four, 250, arc.Limits(steps=500)) == four
    assert "no training sequence" in arc.limit_steps(GOOD, 0).reason
    many = dataclasses.replace(GOOD, epochs=375)
    assert arc.limit_steps(many, 1) == many
    assert arc.limit_steps(dataclasses.replace(GOOD, epochs=376), 1).reason.endswith("are 376 steps; 375 allowed")
    odd = dataclasses.replace(GOOD, epochs=50)
    assert "50 epochs of 15 sequences are 400 steps" in arc.limit_steps(odd, 15).reason
    assert arc.limit_steps(odd, 15, rules="reference") == odd  # which counts 375 of them


def test_recorded_configs(golden):
    for case in golden["config_vectors"]:
        found = reference.resolve(case["text"], case["n_sequences"])
        assert found.outcome == case["outcome"], case["note"]
        expected = case.get("normalised")
        if expected is None:
            continue
        epochs = expected["num_train_epochs"]
        assert {group: group in found.groups for group in schema.GROUPS} == expected["groups"], case["note"]
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
            assert re.search("unknown|more than once", limited.reason)


def test_recorded_sequences(golden):
    for case in golden["config_sequence_vectors"]:
        draws = arc.accept_responses(
            case["responses"],
            case["quota"],
            skip_repeated=case["skip_repeated_configs"],
            most="endless",
            rules="reference",
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


@pytest.mark.parametrize("rules", ["ours", "reference"])
def test_asking_stops_unless_told_otherwise(rules):
    """A model that writes no edit holds a run up for so many responses, and for ever only by name."""

    def responses():
        while True:
            yield "no"

    for quota in (1, 3):
        draws = arc.accept_responses(responses(), quota, rules=rules)
        assert (draws.consumed, draws.end, draws.accepted) == (accept.ATTEMPTS * quota, "capped", [])
    late = ["no"] * 50 + [GOOD.to_json()]
    assert arc.accept_responses(late, 1, most="endless", rules=rules).accepted == [50]
    assert arc.accept_responses(late, 1, rules=rules).end == "capped"
    for most in (0, -1, 1.5, True, "all"):
        with pytest.raises(ValueError, match=f"most {most!r}: give a number of responses of 1 or more, or"):
            arc.accept_responses(late, 1, most=most, rules=rules)


def test_prompts(tmp_path):
    task = tasks.Task("x", (tasks.Example(((1,),), ((2,),)),), (tasks.Example(((9,),), None),))
    shown = arc.edit_prompt(task)
    assert "[[1]] -> [[2]]#\n" in shown
    assert "9" not in shown.split("---")[0]  # the test plays no part
    for key in (*schema.FLAGS, *schema.TRAINING_KEYS, *schema.STRATEGIES):
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
