"""ARC self-edits as a model writes them: what it is asked, what its response says, and whether that can be trained."""

from __future__ import annotations

import json
import pathlib
from functools import partial
from typing import Any, cast

from seal_jax.data.arc import Task, demo_text
from seal_jax.data.arc.rules import Rules, check_rules
from seal_jax.data.arc.tasks import repeated, shown
from seal_jax.evaluation.templates import chat, fill, fill_turns, load_template, load_turns
from seal_jax.seal.arc import reference
from seal_jax.seal.arc.schema import FLAGS, LIMITS, STRATEGIES, TRAINING_KEYS, EditConfig, Limits, Refused, Strategy

PROMPTS = pathlib.Path(__file__).parent / "prompts"


def parse_edit(text: str | None, limits: Limits = LIMITS, rules: Rules = "ours") -> EditConfig | Refused:
    """The edit that a response states, or why it states none; what is not text (an endpoint can answer None) is none.

    "ours": the whole response is one JSON object with exactly the keys of the schema, each once, flags are true or
    false, the strategy is one of STRATEGIES, the learning rate a number in (0, limits.learning_rate], epochs an integer
    in [0, limits.epochs]. "reference": what the released code takes as far as it can be stated as an EditConfig, that
    is flags by truth value, unknown keys ignored, and zero epochs for what is missing (`reference.resolve` has all of
    it).
    Raises ValueError for other rules, and nothing else.
    """
    check_rules(rules)
    if not isinstance(text, str):
        return Refused(f"not text but {_shown(text)}")
    if rules == "reference":
        return reference.parse(text, limits)
    twice: list[str] = []
    try:
        hook = partial(_collected, twice)
        edit = _edit(json.loads(text, parse_constant=_no_constant, object_pairs_hook=hook), limits)
    except _NotAnEdit as error:
        return Refused(str(error))
    except (ValueError, RecursionError) as error:
        return Refused(f"not JSON: {str(error)[:80]}")
    return Refused(f"states {_shown(twice[0])} more than once") if twice else edit


def limit_steps(
    config: EditConfig, n_sequences: int, limits: Limits = LIMITS, rules: Rules = "ours"
) -> EditConfig | Refused:
    """The edit, if there is something to train on and its optimizer steps are within the limit.

    The steps are those that are run: the batches of an epoch, the last of which may be part empty, times the epochs.
    rules "reference" counts `epochs * n_sequences // batch_size`, by which an odd number of sequences can run up to
    twice as many steps as allowed. ValueError for other rules.
    """
    check_rules(rules)
    if rules == "reference":
        steps = config.epochs * n_sequences // limits.batch_size
    else:
        steps = config.epochs * -(-n_sequences // limits.batch_size)
    if n_sequences < 1:
        return Refused("no training sequence is left")
    if steps > limits.steps:
        return Refused(f"{config.epochs} epochs of {n_sequences} sequences are {steps} steps; {limits.steps} allowed")
    return config


def edit_prompt(task: Task, template: str = "arc-edit", tokenizer: Any = None) -> str:
    """The text after which a model writes a self-edit of the task: instructions around its demonstrations.

    template: "arc-edit", "arc-edit-plain" (nearly no words, for the embedded model), or the path of a file with
    {demos}. tokenizer: give one for a chat model, for the template's chat form.
    """
    demos = demo_text(task)
    if tokenizer is None:
        return fill(load_template(template, ("demos",), PROMPTS), demos=demos)
    return chat(tokenizer, *fill_turns(load_turns(template, ("demos",), PROMPTS), demos=demos))


def instruction(template: str = "arc-task") -> str:
    """The words before the demonstrations where a task is posed: "arc-task", "arc-task-plain" (none), or a file's."""
    return load_template(template, (), PROMPTS)


class _NotAnEdit(Exception):
    """Valid JSON that is not an edit."""


def _no_constant(name: str) -> float:
    raise _NotAnEdit(f"{name} is not a JSON number")


def _collected(found: list[str], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; keys that it has more than once are added to `found`."""
    found.extend(repeated(key for key, _ in pairs))
    return dict(pairs)


def _edit(loaded: Any, limits: Limits) -> EditConfig:
    blocks = _object(loaded, ("data_generation", "training"), "the response")
    flags = _object(blocks["data_generation"], tuple(FLAGS), "data_generation")
    training = _object(blocks["training"], TRAINING_KEYS, "training")
    for flag, value in flags.items():
        if type(value) is not bool:
            raise _NotAnEdit(f"{flag} should be true or false, not {_shown(value)}")
    strategy, rate, epochs = (training[key] for key in TRAINING_KEYS)
    if not isinstance(strategy, str) or strategy not in STRATEGIES:
        raise _NotAnEdit(f"strategy should be one of {', '.join(STRATEGIES)}, not {_shown(strategy)}")
    if type(rate) not in (int, float) or not 0 < rate <= limits.learning_rate:
        raise _NotAnEdit(f"learning_rate should be a number in (0, {limits.learning_rate:g}], not {_shown(rate)}")
    if type(epochs) is not int or not 0 <= epochs <= limits.epochs:
        raise _NotAnEdit(f"num_train_epochs should be an integer from 0 to {limits.epochs}, not {_shown(epochs)}")
    groups = tuple(group for flag, group in FLAGS.items() if flags[flag])
    return EditConfig(groups, cast(Strategy, strategy), float(rate), epochs)


def _object(value: Any, keys: tuple[str, ...], where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _NotAnEdit(f"{where} should be an object, not {_shown(value)}")
    for wrong, what in ((set(keys) - set(value), "lacks"), (set(value) - set(keys), "has the unknown")):
        if wrong:
            raise _NotAnEdit(f"{where} {what} {_shown(min(wrong))}")
    return value


def _shown(value: Any) -> str:
    return f"a {type(value).__name__}" if isinstance(value, dict | list) else shown(value)
