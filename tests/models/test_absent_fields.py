"""A `config.json` without one of its fields, or with null in its place, is the model that transformers reads in it."""

import copy

import pytest
import transformers
from family_rows import ROWS
from huggingface_hub.errors import StrictDataclassError

from seal_jax import models
from seal_jax.models.families import config_from_hf, config_to_hf

# Without these a file does not say which model it is; transformers takes its class's own, those of some 7B model.
REQUIRED = {
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_layers",
    "num_heads",
}


def vision_config():
    text = ROWS["gemma3"]().to_dict()
    return transformers.Gemma3Config(text_config=text, vision_config={"num_hidden_layers": 1})


CONFIGS = {**ROWS, "gemma3_with_vision": vision_config}


def spellings(theirs):
    """The object as transformers 5 writes it, and as we do, in the spelling of 4."""
    full = theirs.to_dict()
    plain = [full] if "text_config" in full else [full, config_to_hf(config_from_hf(full))]
    return [{name: value for name, value in values.items() if name != "architectures"} for values in plain]


def changes(values, change):
    """`(field, the object without it)` for every field, those of the decoder's own object too."""
    inner = values.get("text_config", {})
    for name in sorted(values.keys() - {"model_type", "text_config"}):
        yield name, change(values, name)
    for name in sorted(inner.keys() - {"model_type"}):
        yield name, {**values, "text_config": change(inner, name)}


def without(values, name):
    return {key: value for key, value in values.items() if key != name}


def null(values, name):
    return {**values, name: None}


def read(values):
    try:
        return config_from_hf(values)
    except models.CheckpointError:
        return "refused"


def read_by_theirs(values, kind):
    """What transformers makes of the object, spelled out and read by us; "refused" where it refuses it."""
    try:
        return read(kind.from_dict(copy.deepcopy(values)).to_dict())  # it writes into its argument
    except StrictDataclassError:
        return "refused"


@pytest.mark.parametrize("change", [without, null])
@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.filterwarnings("ignore:.*is not used")
def test_absent_and_null_fields_are_read_as_transformers_reads_them(family, change):
    theirs = CONFIGS[family]()
    changed = 0
    for values in spellings(theirs):
        for name, less in changes(values, change):
            ours, wanted = read(less), read_by_theirs(less, type(theirs))
            if wanted == "refused" and change is null:
                continue  # such a null is an absent field to us
            assert ours == wanted or (name in REQUIRED and ours == "refused"), name
            changed += wanted not in ("refused", config_from_hf(values))
    assert changed > 3  # the fields do say something
