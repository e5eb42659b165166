"""What an adapter folder of `peft` can say, run through `peft` in both directions, and what users write by hand."""

import copy
import json

import family_rows
import jax
import jax.numpy as jnp
import numpy as np
import peft
import pytest
import torch
from safetensors.numpy import load_file, save_file

from seal_jax import adapters, generation, models, training

CONFIG_FILE, TENSORS = "adapter_config.json", "adapter_model.safetensors"
Q_PATH, UP_PATH = "layers/self_attn/q_proj/kernel", "layers/mlp/up_proj/kernel"
PREFIX = "base_model.model."
TOKENS, MASK = family_rows.batch()


@pytest.fixture(scope="module")
def row(build_row):
    return build_row("llama")


@pytest.fixture(scope="module")
def plain(row):
    return family_rows.their_logits(row.theirs, TOKENS, MASK)[MASK]


def ours(row, adapter):
    """Our logits with an adapter merged, so that every adapter runs the one compiled program of the plain model."""
    merged = adapters.materialize(adapters.attach(row.ours.params, adapter))
    return family_rows.our_logits(row.ours._replace(params=merged), TOKENS, MASK)[MASK]


def wrapped(row, **options):
    """The model with a random adapter of peft."""
    torch.manual_seed(0)
    settings = peft.LoraConfig(**{"task_type": "CAUSAL_LM", **options})
    theirs = peft.get_peft_model(copy.deepcopy(row.theirs), settings).eval()
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if "lora_" in name:
                p.copy_(0.2 * torch.randn_like(p))
    return theirs


def theirs_loading(row, folder):
    model = peft.PeftModel.from_pretrained(copy.deepcopy(row.theirs), folder).eval()
    return family_rows.their_logits(model, TOKENS, MASK)[MASK]


def change_config(folder, **fields):
    path = folder / CONFIG_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def rename(folder, new_name):
    tensors = load_file(folder / TENSORS)
    save_file({new_name(name): tensor for name, tensor in tensors.items()}, folder / TENSORS)


THEIRS = {
    "rank patterns": {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q_proj", "down_proj"],
        "rank_pattern": {"layers.1.self_attn.q_proj": 2, r"^model\.layers\.\d\.mlp\..*": 5},
    },
    "overlapping patterns": {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q_proj", "v_proj"],
        "rank_pattern": {r"layers\.[02]\.self_attn\.[qv]_proj": 1, "q_proj": 3},
        "alpha_pattern": {"q_proj|v_proj": 5, r".*": 100},
    },
    "rslora": {
        "r": 4,
        "lora_alpha": 3,
        "use_rslora": True,
        "target_modules": ["k_proj"],
        "rank_pattern": {"k_proj": 9},
    },
    "one layer": {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "up_proj"], "layers_to_transform": 1},
    "layers": {
        "r": 2,
        "lora_alpha": 4,
        "target_modules": ["q_proj", "lm_head"],
        "layers_to_transform": [0, 2],
        "layers_pattern": "layers",
    },
    "regex": {"r": 2, "lora_alpha": 4, "target_modules": r"model\.layers\.(0|2)\.(?!mlp).*_proj"},
    "unsloth": {
        "r": 2,
        "lora_alpha": 4,
        "target_modules": r"(?:.*?(?:language|text).*?(?:q_proj|up_proj).*?)|"
        r"(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:(?:q_proj|up_proj)))",
    },
    "excluded": {"r": 2, "lora_alpha": 4, "target_modules": "all-linear", "exclude_modules": ["layers.0.mlp.up_proj"]},
    "excluded by regex": {"r": 2, "lora_alpha": 4, "target_modules": ["o_proj"], "exclude_modules": r".*\.1\..*"},
    "more targets than modules": {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "query_key_value"]},
    "full names": {"r": 2, "lora_alpha": 4, "target_modules": ["model.layers.2.mlp.gate_proj", "lm_head"]},
    "negative alpha": {"r": 2, "lora_alpha": -4, "target_modules": ["v_proj"]},
    "training settings": {
        "r": 2,
        "lora_alpha": 4,
        "target_modules": ["q_proj"],
        "lora_dropout": 0.5,
        "fan_in_fan_out": True,
        "init_lora_weights": "mica",
    },
}


@pytest.mark.parametrize("options", THEIRS.values(), ids=THEIRS)
def test_we_load_what_peft_saves_and_save_what_it_loads(row, plain, tmp_path, options):
    theirs = wrapped(row, **options)
    theirs.save_pretrained(tmp_path / "theirs")
    # What the folder says, not what was in memory: peft sorts the patterns when it writes them, and the first counts.
    wanted = theirs_loading(row, tmp_path / "theirs")
    adapter = models.load_peft(tmp_path / "theirs", row.ours.params, row.ours.config)
    assert np.abs(wanted - plain).max() > 0.3
    np.testing.assert_allclose(ours(row, adapter), wanted, atol=1e-4, rtol=0)
    for layout in ("peft", "vllm"):
        models.save_peft(tmp_path / layout, adapter, row.ours.config, layout=layout)
        np.testing.assert_allclose(theirs_loading(row, tmp_path / layout), wanted, atol=1e-4, rtol=0)
        again = models.load_peft(tmp_path / layout, row.ours.params, row.ours.config)
        np.testing.assert_allclose(ours(row, again), wanted, atol=1e-4, rtol=0)


def test_peft_merges_as_we_do(row, tmp_path):
    theirs = wrapped(row, r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], rank_pattern={"q_proj": 2})
    theirs.save_pretrained(tmp_path / "adapter")
    merged = theirs.merge_and_unload().state_dict()
    models.merge_checkpoint(row.folder, tmp_path / "merged", [tmp_path / "adapter"])
    found = load_file(tmp_path / "merged" / "model.safetensors")
    assert found.keys() == merged.keys() - {"model.rotary_emb.inv_freq"}
    for name, tensor in found.items():
        np.testing.assert_allclose(tensor, merged[name].numpy(), atol=1e-6, rtol=0, err_msg=name)


def test_layers_without_an_adapter_have_scale_and_factors_zero_and_ranks_are_padded(row, tmp_path):
    options = {"target_modules": ["q_proj"], "layers_to_transform": [0, 2], "rank_pattern": {"layers.2.*": 5}}
    wrapped(row, r=2, lora_alpha=4, **options).save_pretrained(tmp_path)
    [(path, entry)] = models.load_peft(tmp_path, row.ours.params, row.ours.config).items()
    assert path == Q_PATH
    assert {name: x.shape for name, x in entry.items()} == {"a": (3, 32, 5), "b": (3, 5, 32), "scale": (3,)}
    np.testing.assert_allclose(entry["scale"], [2, 0, 0.8], rtol=1e-6)
    assert not entry["a"][1].any()
    assert not entry["b"][1].any()
    assert not entry["a"][0, :, 2:].any()
    assert entry["a"][2].all()


def random_adapter(row, **options):
    adapter = adapters.lora.init(jax.random.key(0), row.ours.params, **options)
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: x if x.ndim < 2 else jnp.asarray(0.2 * rng.normal(size=x.shape), x.dtype), adapter)


def test_layers_that_change_nothing_are_left_out(row, tmp_path):
    adapter = random_adapter(row, rank=3, alpha=6, targets=("q_proj", "up_proj", "v_proj"))
    for entry in adapter.values():
        entry["scale"] = entry["scale"].at[1].set(0)
    adapter[UP_PATH]["scale"] = jnp.zeros(3)
    models.save_peft(tmp_path / "layers", adapter, row.ours.config)
    settings = json.loads((tmp_path / "layers" / CONFIG_FILE).read_text())
    assert (settings["target_modules"], settings["layers_to_transform"]) == (["q_proj", "v_proj"], [0, 2])
    assert len(load_file(tmp_path / "layers" / TENSORS)) == 2 * 2 * 2
    adapter[Q_PATH]["b"] = adapter[Q_PATH]["b"].at[2, 1:].set(0)
    adapter[Q_PATH]["a"] = adapter[Q_PATH]["a"].at[2, :, 1:].set(0).at[0].set(0)
    adapter[Q_PATH]["b"] = adapter[Q_PATH]["b"].at[0].set(0)
    models.save_peft(tmp_path / "explicit", adapter, row.ours.config)
    settings = json.loads((tmp_path / "explicit" / CONFIG_FILE).read_text())
    wanted = ["model.layers.0.self_attn.v_proj", "model.layers.2.self_attn.q_proj", "model.layers.2.self_attn.v_proj"]
    assert settings["target_modules"] == wanted
    assert (settings["r"], settings["rank_pattern"]) == (3, {"q_proj": 1})
    assert (settings["lora_alpha"], settings["alpha_pattern"]) == (6, {"q_proj": 2})
    np.testing.assert_allclose(theirs_loading(row, tmp_path / "explicit"), ours(row, adapter), atol=1e-4, rtol=0)


def test_a_fresh_adapter_keeps_its_rank(row, tmp_path):
    adapter = adapters.lora.init(jax.random.key(0), row.ours.params, rank=3, alpha=6)
    models.save_peft(tmp_path, adapter, row.ours.config)
    again = models.load_peft(tmp_path, row.ours.params, row.ours.config)
    jax.tree.map(np.testing.assert_array_equal, again, adapter)


def test_an_adapter_of_nothing_is_one(row, plain, tmp_path):
    zero = jax.tree.map(jnp.zeros_like, random_adapter(row, rank=3, alpha=6))
    models.save_peft(tmp_path, zero, row.ours.config)
    np.testing.assert_array_equal(theirs_loading(row, tmp_path), plain)
    again = models.load_peft(tmp_path, row.ours.params, row.ours.config)
    assert not any(x.any() for x in jax.tree.leaves(again))


def test_the_form_for_vllm(row, tmp_path):
    adapter = {
        **random_adapter(row, rank=3, alpha=6, targets="q_proj"),
        **random_adapter(row, rank=2, alpha=5, targets="up_proj"),
    }
    config = row.ours.config
    models.save_peft(tmp_path, adapter, config, layout="vllm", dtype="bfloat16", base_model="owner/served-name")
    settings = json.loads((tmp_path / CONFIG_FILE).read_text())
    assert settings["peft_type"] == "LORA"
    assert settings["base_model_name_or_path"] == "owner/served-name"
    assert settings["r"] == settings["lora_alpha"] == 3
    assert settings["target_modules"] == ["q_proj", "up_proj"]
    assert not settings["rank_pattern"]
    assert not settings["alpha_pattern"]
    assert not settings["use_rslora"]
    tensors = load_file(tmp_path / TENSORS)
    assert {str(t.dtype) for t in tensors.values()} == {"bfloat16"}
    assert {t.shape[0] for name, t in tensors.items() if ".lora_A." in name} == {3}
    np.testing.assert_allclose(theirs_loading(row, tmp_path), ours(row, adapter), atol=0.1, rtol=0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_every_float_type_is_read(row, tmp_path, dtype):
    adapter = random_adapter(row, rank=2, alpha=4)
    models.save_peft(tmp_path, adapter, row.ours.config, dtype=dtype)
    again = models.load_peft(tmp_path, row.ours.params, row.ours.config)
    for path, entry in adapter.items():
        np.testing.assert_array_equal(again[path]["a"], np.asarray(entry["a"]).astype(dtype).astype(np.float32))


SPELLINGS = {
    "with the adapter's name": lambda name: name.replace(".weight", ".default.weight"),
    "another adapter's name": lambda name: name.replace(".weight", ".my-task.weight"),
    "compiled": lambda name: name.replace(PREFIX, f"{PREFIX}_orig_mod."),
    "fsdp": lambda name: name.replace(".self_attn", "._fsdp_wrapped_module.self_attn"),
    "text part of a larger model": lambda name: name.replace(f"{PREFIX}model.", f"{PREFIX}model.language_model."),
    "text part of a larger model, before": lambda name: name.replace(PREFIX, f"{PREFIX}language_model."),
}


@pytest.mark.parametrize("new_name", SPELLINGS.values(), ids=SPELLINGS)
def test_other_spellings_of_the_same_modules(row, tmp_path, new_name):
    adapter = random_adapter(row, rank=2, alpha=4)
    models.save_peft(tmp_path, adapter, row.ours.config)
    rename(tmp_path, new_name)
    again = models.load_peft(tmp_path, row.ours.params, row.ours.config)
    jax.tree.map(np.testing.assert_array_equal, again, adapter)


def test_an_adapter_of_the_model_without_its_output_layer(row, tmp_path):
    settings = peft.LoraConfig(task_type="FEATURE_EXTRACTION", r=2, target_modules=["q_proj"], init_lora_weights=False)
    theirs = peft.get_peft_model(copy.deepcopy(row.theirs.model), settings)
    theirs.save_pretrained(tmp_path)
    adapter = models.load_peft(tmp_path, row.ours.params, row.ours.config)
    whole = copy.deepcopy(row.theirs)
    whole.model = theirs
    np.testing.assert_allclose(
        ours(row, adapter), family_rows.their_logits(whole, TOKENS, MASK)[MASK], atol=1e-4, rtol=0
    )
    change_config(tmp_path, task_type="CAUSAL_LM")
    with pytest.raises(models.CheckpointError, match=r"model\.layers\.0\.self_attn\.q_proj"):
        models.load_peft(tmp_path, row.ours.params, row.ours.config)


WRONG = {
    "none": lambda name: name.removeprefix(PREFIX),
    "half": lambda name: name.removeprefix("base_model."),
    "twice": lambda name: PREFIX + name,
    "bare": lambda name: name.replace(f"{PREFIX}model.", PREFIX),
    "another family": lambda name: name.replace("model.layers", "transformer.h"),
}


@pytest.mark.filterwarnings("ignore:Found missing adapter keys")
@pytest.mark.parametrize("new_name", WRONG.values(), ids=WRONG)
def test_a_wrong_prefix_which_peft_ignores_is_an_error(row, plain, tmp_path, new_name):
    models.save_peft(tmp_path, random_adapter(row, rank=2, alpha=4), row.ours.config)
    assert np.abs(theirs_loading(row, tmp_path) - plain).max() > 0.3
    rename(tmp_path, new_name)
    np.testing.assert_array_equal(theirs_loading(row, tmp_path), plain)  # loaded without effect
    with pytest.raises(models.CheckpointError, match=r"is not a LoRA factor of this model: expected like 'base_model"):
        models.load_peft(tmp_path, row.ours.params, row.ours.config)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"target_modules": ["q_proj"]}, "does not adapt"),
        ({"exclude_modules": ["v_proj"]}, "does not adapt"),
        ({"layers_to_transform": [1]}, "does not adapt"),
        ({"target_modules": ["q_proj", "v_proj", "k_proj"]}, "k_proj.lora_A.weight' is missing"),
        ({"target_modules": ["embed_tokens", "q_proj"]}, "an embedding"),
        ({"target_modules": ["nothing"]}, "names no linear module"),
        ({"target_modules": None}, "target_modules"),
        ({"target_modules": 3}, "target_modules"),
        ({"target_modules": "all-linear", "layers_to_transform": [1]}, "goes with a list"),
        ({"layers_pattern": "layers"}, "layers_pattern needs"),
        ({"layers_to_transform": ["one"]}, "layers_to_transform"),
        ({"target_modules": "(.*)*x("}, "not a regular expression"),
        ({"target_modules": "(?i)q_proj"}, "flags"),
        ({"rank_pattern": {"(": 2}}, "rank_pattern"),
        ({"r": 3}, "(2, 32)"),
        ({"lora_alpha": 10**400}, "lora_alpha"),
        ({"alpha_pattern": {"q_proj": None}}, "q_proj"),
        ({"task_type": "MADE_UP"}, "task_type"),
        ({"init_lora_weights": "pissa_niter_4"}, "path_initial_model_for_weight_conversion"),
        ({"init_lora_weights": "olora"}, "path_initial_model_for_weight_conversion"),
        ({"init_lora_weights": 1.0}, "init_lora_weights"),
        ({"use_dora": True}, "DoRA"),
        ({"target_parameters": ["w"]}, "target_parameters"),
        ({"layer_replication": [[0, 2]]}, "repeated"),
        ({"alora_invocation_tokens": [1]}, "aLoRA"),
        ({"peft_type": "VERA"}, "LORA"),
    ],
)
def test_settings_that_mean_something_else_are_named(row, tmp_path, fields, named):
    models.save_peft(tmp_path, random_adapter(row, rank=2, alpha=4), row.ours.config)
    change_config(tmp_path, **fields)
    with pytest.raises(models.CheckpointError) as caught:
        models.load_peft(tmp_path, row.ours.params, row.ours.config)
    assert named in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("tensor", "named"),
    [
        ("model.embed_tokens.lora_embedding_A", "adapts an embedding"),
        ("model.layers.0.self_attn.q_proj.lora_magnitude_vector.weight", "DoRA"),
        ("lm_head.modules_to_save.weight", "trained whole"),
        ("model.layers.0.self_attn.q_proj.lora_B.bias", "bias of a factor"),
        ("model.layers.0.self_attn.q_proj.base_layer.bias", "bias of the base"),
        ("model.embed_tokens.trainable_tokens_delta", "trained rows"),
    ],
)
def test_tensors_that_are_something_else_are_named(row, tmp_path, tensor, named):
    models.save_peft(tmp_path, random_adapter(row, rank=2, alpha=4), row.ours.config)
    save_file({**load_file(tmp_path / TENSORS), PREFIX + tensor: np.ones((2, 32), np.float32)}, tmp_path / TENSORS)
    with pytest.raises(models.CheckpointError) as caught:
        models.load_peft(tmp_path, row.ours.params, row.ours.config)
    assert named in str(caught.value)


def test_one_factor_under_two_names_and_two_adapters_in_a_file(row, tmp_path):
    models.save_peft(tmp_path, random_adapter(row, rank=2, alpha=4), row.ours.config)
    tensors = load_file(tmp_path / TENSORS)
    name = next(iter(tensors))
    save_file({**tensors, name.replace(".weight", ".default.weight"): tensors[name]}, tmp_path / TENSORS)
    with pytest.raises(models.CheckpointError, match="the same factor"):
        models.load_peft(tmp_path, row.ours.params, row.ours.config)
    save_file(
        {n.replace(".weight", f".{i % 2}.weight"): t for i, (n, t) in enumerate(tensors.items())}, tmp_path / TENSORS
    )
    with pytest.raises(models.CheckpointError, match="several adapters"):
        models.load_peft(tmp_path, row.ours.params, row.ours.config)


@pytest.mark.parametrize(
    ("options", "change", "named"),
    [
        ({"layout": "gguf"}, {}, "'vllm'"),
        ({"dtype": "int8"}, {}, "int8"),
        ({"dtype": "float16"}, {"a": 1e6}, "NaN or inf as float16"),
        ({}, {"b": float("nan")}, "NaN"),
        ({}, {"scale": float("inf")}, "finite"),
    ],
)
def test_what_cannot_be_saved(row, tmp_path, options, change, named):
    adapter = random_adapter(row, rank=2, alpha=4)
    for name, value in change.items():
        adapter[Q_PATH][name] = adapter[Q_PATH][name].at[0].set(value)
    with pytest.raises(models.CheckpointError) as caught:
        models.save_peft(tmp_path / "new", adapter, row.ours.config, **options)
    assert named in str(caught.value)
    assert not (tmp_path / "new").exists()


@pytest.fixture(scope="module")
def several(row):
    return [
        random_adapter(row, rank=3, alpha=6, targets="q_proj"),
        random_adapter(row, rank=2, alpha=5, targets=("q_proj", "up_proj")),
        random_adapter(row, rank=1, alpha=1, targets="up_proj"),
    ]


def test_a_stack_of_different_adapters_computes_what_each_does_alone(row, tmp_path, several):
    for name, adapter in zip("cab", several):
        models.save_peft(tmp_path / name, adapter, row.ours.config)
    stack = models.load_peft_stack([tmp_path / name for name in "cab"], row.ours.params, row.ours.config)
    assert {path: entry["a"].shape for path, entry in stack.items()} == {Q_PATH: (3, 3, 32, 3), UP_PATH: (3, 3, 32, 2)}
    for n, adapter in enumerate(several):
        np.testing.assert_allclose(
            ours(row, jax.tree.map(lambda x, n=n: x[n], stack)), ours(row, adapter), atol=1e-5, rtol=0
        )
    by_name = models.load_peft_stack(tmp_path, row.ours.params, row.ours.config)
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y[jnp.array([1, 2, 0])]), by_name, stack)
    models.save_peft_stack(tmp_path / "again", stack, row.ours.config, names=["x", "y", "z"])
    for name, adapter in zip("xyz", several):
        again = models.load_peft(tmp_path / "again" / name, row.ours.params, row.ours.config)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), again, adapter)


def test_a_stack_generates_and_trains(row, several, tmp_path):
    folders = [tmp_path / str(n) for n in range(2)]
    for folder, adapter in zip(folders, several):
        models.save_peft(folder, adapter, row.ours.config)
    stack = models.load_peft_stack(tmp_path, row.ours.params, row.ours.config)
    prompts = [[[5, 6, 7]], [[5, 6, 7]]]
    found = generation.generate_batch(row.ours.params, row.ours.config, stack, prompts, None, max_new_tokens=4, eos=())
    for output, adapter in zip(found, several):
        params = adapters.attach(row.ours.params, adapter)
        alone = generation.generate(params, row.ours.config, prompts[0], None, max_new_tokens=4, eos=())
        assert output.tokens == alone.tokens
    batches = {"tokens": jnp.asarray(np.stack([TOKENS[None]] * 2)), "mask": jnp.ones((2, 1, *TOKENS.shape), bool)}
    hyper = training.Hyper(*(jnp.full(2, x) for x in training.Hyper(learning_rate=1e-2, steps=1)))
    trained, _ = training.finetune_batch(row.ours.params, row.ours.config, stack, batches, hyper)
    assert (trained[Q_PATH]["b"] != stack[Q_PATH]["b"]).any()
    padding = trained[Q_PATH]["b"][1, :, 2:], trained[UP_PATH]["a"][0]
    assert not any(x.any() for x in padding)


def test_names_of_a_stack(row, several, tmp_path):
    stack = jax.tree.map(lambda x: jnp.stack([x] * 11), several[0])
    written = models.save_peft_stack(tmp_path / "n", stack, row.ours.config)
    assert [path.name for path in written][::10] == ["adapter-00", "adapter-10"]
    for names in (["a"] * 11, ["a", "b"], ["../x", *map(str, range(10))], ["", *map(str, range(10))]):
        with pytest.raises(models.CheckpointError, match="name"):
            models.save_peft_stack(tmp_path / "bad", stack, row.ours.config, names=names)
    ragged = {**stack, Q_PATH: {**stack[Q_PATH], "a": stack[Q_PATH]["a"][1:]}}
    with pytest.raises(models.CheckpointError, match="axes"):
        models.save_peft_stack(tmp_path / "bad", ragged, row.ours.config)
    assert not (tmp_path / "bad").exists()


def test_folders_that_hold_no_adapters(row, several, tmp_path):
    with pytest.raises(models.CheckpointError, match="holds no adapters"):
        models.load_peft_stack(tmp_path, row.ours.params, row.ours.config)
    models.save_peft(tmp_path / "one", several[0], row.ours.config)
    with pytest.raises(models.CheckpointError, match="it holds the adapters one"):
        models.load_peft(tmp_path, row.ours.params, row.ours.config)
    (tmp_path / "other").mkdir()
    with pytest.raises(models.CheckpointError, match=r"other: no adapter_config\.json"):
        models.load_peft_stack(tmp_path, row.ours.params, row.ours.config)
    with pytest.raises(models.CheckpointError, match="at least"):
        models.load_peft_stack([], row.ours.params, row.ours.config)


def test_both_names_of_an_output_layer_that_was_renamed(build_row, tmp_path):
    """GPT-NeoX: `embed_out` in files and in transformers 4, `lm_head` in transformers 5."""
    row = build_row("gpt_neox")
    adapter = random_adapter(row, rank=2, alpha=4, targets=("lm_head", "query_key_value"))
    models.save_peft(tmp_path, adapter, row.ours.config)
    wanted = theirs_loading(row, tmp_path)
    np.testing.assert_allclose(ours(row, adapter), wanted, atol=1e-4, rtol=0)
    rename(tmp_path, lambda name: name.replace("lm_head", "embed_out"))
    change_config(tmp_path, target_modules=["embed_out", "query_key_value"])
    again = models.load_peft(tmp_path, row.ours.params, row.ours.config)
    jax.tree.map(np.testing.assert_array_equal, again, adapter)
