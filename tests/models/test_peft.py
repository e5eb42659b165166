"""LoRA adapters in the PEFT layout: `peft` itself, run in both directions, must give the same logits."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

from seal_jax import adapters, models

CONFIG = models.Config("llama", 64, 32, 48, 2, 4, 2, 8, 64)
TENSORS = "adapter_model.safetensors"
Q_PATH = "layers/self_attn/q_proj/kernel"
Q_NAME = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
HEAD_NAME = "base_model.model.lm_head.weight"
TOKENS = np.random.default_rng(0).integers(0, 64, (2, 9), np.int32)


@pytest.fixture(scope="module")
def params():
    return jax.tree.map(lambda x: x * 8 if x.std() else x, models.init(jax.random.key(0), CONFIG))


@pytest.fixture(scope="module")
def base(params, tmp_path_factory):
    """A directory with the base model, which transformers reads too."""
    folder = tmp_path_factory.mktemp("base")
    models.save_pretrained(folder, CONFIG, params)
    return folder


@pytest.fixture(scope="module")
def forward():
    @jax.jit
    def run(params, adapter):
        return models.forward(adapters.attach(params, adapter), CONFIG, jnp.asarray(TOKENS))

    return run


def random_adapter(params, **options):
    adapter = adapters.lora.init(jax.random.key(1), params, **options)
    leaves, tree = jax.tree.flatten(adapter)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    drawn = [x + 0.1 * jax.random.normal(k, x.shape) if x.ndim == 3 else x for k, x in zip(keys, leaves)]
    return jax.tree.unflatten(tree, drawn)


def their_logits(base, folder=None):
    model = transformers.AutoModelForCausalLM.from_pretrained(base).eval()
    if folder is not None:
        model = peft.PeftModel.from_pretrained(model, folder).eval()
    with torch.no_grad():
        return model(torch.tensor(TOKENS, dtype=torch.long)).logits.numpy()


OURS = {
    "default": {"rank": 3, "alpha": 6.0},
    "all": {"rank": 2, "alpha": 1.0, "targets": "all"},
    "head": {"rank": 4, "alpha": 8.0, "targets": ("lm_head", "mlp")},
    "fractional": {"rank": 3, "alpha": 2.5, "targets": ("o_proj",)},
}


@pytest.mark.parametrize("options", OURS.values(), ids=OURS)
def test_peft_loads_what_we_save_with_the_same_logits(params, base, forward, tmp_path, options):
    adapter = random_adapter(params, **options)
    models.save_peft(tmp_path, adapter, CONFIG)
    got, plain = their_logits(base, tmp_path), their_logits(base)
    assert np.abs(got - plain).max() > 0.1  # a wrong prefix would load without effect
    np.testing.assert_allclose(got, forward(params, adapter), atol=1e-4, rtol=0)
    settings = peft.LoraConfig.from_pretrained(str(tmp_path))
    assert isinstance(settings, peft.LoraConfig)
    assert (settings.r, settings.lora_alpha) == (options["rank"], options["alpha"])
    again = models.load_peft(tmp_path, params, CONFIG)
    jax.tree.map(np.testing.assert_array_equal, again, adapter)


def test_entries_of_different_rank_and_scale_are_saved_as_patterns(params, base, forward, tmp_path):
    adapter = {
        **random_adapter(params, rank=3, alpha=6, targets="attention"),
        **random_adapter(params, rank=2, alpha=5, targets="up_proj"),
    }
    adapter[Q_PATH]["scale"] = jnp.array([0.5, 3.0])
    models.save_peft(tmp_path, adapter, CONFIG)
    np.testing.assert_allclose(their_logits(base, tmp_path), forward(params, adapter), atol=1e-4, rtol=0)
    again = models.load_peft(tmp_path, params, CONFIG)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), again, adapter)


THEIRS = {
    "plain": {"r": 4, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"], "lora_dropout": 0.3},
    "patterns": {
        "r": 4,
        "lora_alpha": 8,
        "target_modules": ["q_proj", "down_proj", "lm_head"],
        "rank_pattern": {"down_proj": 2},
        "alpha_pattern": {"down_proj": 3, "model.layers.1.self_attn.q_proj": 32},
    },
    "regex": {"r": 2, "lora_alpha": 4, "target_modules": r".*\.(gate|up)_proj"},
    "all": {"r": 2, "lora_alpha": 2, "target_modules": "all-linear"},
}


@pytest.mark.parametrize("options", THEIRS.values(), ids=THEIRS)
def test_we_load_what_peft_saves_with_the_same_logits(params, base, forward, tmp_path, options):
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    theirs = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **options)).eval()
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if "lora_" in name:
                p.copy_(0.2 * torch.randn_like(p))
        wanted = theirs(torch.tensor(TOKENS, dtype=torch.long)).logits.numpy()
    theirs.save_pretrained(tmp_path)
    adapter = models.load_peft(tmp_path, params, CONFIG)
    assert np.abs(wanted - their_logits(base)).max() > 0.1
    assert 0.1 < wanted.std() < 5
    np.testing.assert_allclose(forward(params, adapter), wanted, atol=1e-4, rtol=0)


@pytest.fixture
def folder(params, tmp_path):
    """A good adapter, to be damaged."""
    models.save_peft(tmp_path, random_adapter(params, rank=3, alpha=6), CONFIG)
    return tmp_path


def assert_refused(folder, params, *words):
    with pytest.raises(models.CheckpointError) as caught:
        models.load_peft(folder, params, CONFIG)
    for word in words:
        assert str(word) in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("use_dora", True),
        ("modules_to_save", ["lm_head"]),
        ("bias", "all"),
        ("peft_type", "IA3"),
        ("peft_type", None),
        ("init_lora_weights", "pissa"),
        ("layers_to_transform", [0]),
        ("lora_bias", True),
        ("trainable_token_indices", [1]),
        ("use_something_new", True),
        ("r", None),
        ("r", 0),
        ("lora_alpha", "high"),
        ("rank_pattern", {"q_proj": 0}),
        ("alpha_pattern", {"q_proj": "high"}),
        ("rank_pattern", 3),
    ],
)
def test_setting_other_than_plain_lora_is_refused_by_name(folder, params, field, value):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    name = next(iter(value)) if isinstance(value, dict) else field
    assert_refused(folder, params, path, name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop(Q_NAME), [Q_NAME, "missing"]),
        (lambda t: [t.pop(name) for name in list(t) if "v_proj" in name], ["v_proj.lora_A.weight", "missing"]),
        (lambda t: t.clear(), ["missing"]),
        (
            lambda t: t.update({Q_NAME.removeprefix("base_model.model."): t.pop(Q_NAME)}),
            ["expected like", Q_NAME],
        ),
        (lambda t: t.update({Q_NAME: t[Q_NAME][:2].copy()}), [Q_NAME, "(2, 32)", "(3, 32)"]),
        (lambda t: t.update({Q_NAME: np.full((3, 32), np.nan, np.float32)}), [Q_NAME, "NaN"]),
        (lambda t: t.update({HEAD_NAME: np.ones((64, 32), np.float32)}), [HEAD_NAME, "base model"]),
        (
            lambda t: t.update({HEAD_NAME + "s": np.ones((64, 32), np.float32)}),
            [HEAD_NAME, "expected like"],
        ),
    ],
    ids=["half", "target", "empty", "prefix", "shape", "nan", "head", "extra"],
)
def test_bad_tensor_is_named(folder, params, change, words):
    tensors = load_file(folder / TENSORS)
    change(tensors)
    save_file(tensors, folder / TENSORS)
    assert_refused(folder, params, *words)


def test_bin_adapter_is_refused(folder, params):
    (folder / TENSORS).rename(folder / "adapter_model.bin")
    assert_refused(folder, params, folder, TENSORS, "adapter_model.bin")


def test_adapter_of_other_parameters_is_refused(folder, params):
    smaller = jax.tree.map(lambda x: x[:1], params["layers"])
    assert_refused(folder, {**params, "layers": smaller}, folder, "does not fit", Q_PATH)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: {}, ["empty"]),
        (lambda p: adapters.svf.init(jax.random.key(0), adapters.svf.factor(p)), ["raw", "materialize"]),
        (lambda p: jax.tree.map(lambda x: x[None], random_adapter(p, rank=2)), ["save_peft_stack"]),
        (lambda p: {"layers/mlp/kernel": random_adapter(p, rank=2)[Q_PATH]}, ["layers/mlp/kernel", "not a kernel"]),
    ],
    ids=["empty", "svf", "batch", "path"],
)
def test_adapter_that_peft_cannot_hold_is_not_written(params, tmp_path, make, words):
    with pytest.raises(models.CheckpointError) as caught:
        models.save_peft(tmp_path / "new", make(params), CONFIG)
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "new").exists()
