"""`seal-jax convert` on a tiny model: every form in and out, against the functions and against peft's own merging."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.numpy import load_file

from seal_jax import adapters, models
from seal_jax.cli.main import main
from seal_jax.data.worlds.tokenizer import build

CONFIG = models.Config("llama", 1242, 16, 24, 3, 2, 1, 8, 64)


@pytest.fixture(scope="module")
def params():
    return models.init(jax.random.key(0), CONFIG)


def random_adapter(params, seed, **options):
    adapter = adapters.lora.init(jax.random.key(0), params, **options)
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: x if x.ndim < 2 else jnp.asarray(rng.normal(size=x.shape), x.dtype), adapter)


@pytest.fixture(scope="module")
def made(params, tmp_path_factory):
    """A model with a tokenizer, and a directory with the adapters one and two."""
    root = tmp_path_factory.mktemp("convert")
    models.save_pretrained(root / "model", CONFIG, params, build())
    one = random_adapter(params, 1, rank=2, alpha=3)
    one["layers/self_attn/q_proj/kernel"]["scale"] = jnp.array([1.0, 0.0, 2.0])
    models.save_peft(root / "adapters" / "one", one, CONFIG, base_model="owner/base")
    models.save_peft(root / "adapters" / "two", random_adapter(params, 2, rank=1, alpha=1, targets="mlp"), CONFIG)
    return root


def convert(capsys, made, dst, *arguments):
    """The JSON that the command prints."""
    assert main(["convert", str(made / "model"), str(dst), *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_merged_models_equal_those_of_peft(made, tmp_path, capsys):
    one, two = made / "adapters" / "one", made / "adapters" / "two"
    told = convert(capsys, made, tmp_path / "m", "--adapter", one, "--adapter", two, "--merge")
    assert told["adapters"] == [str(one), str(two)]
    theirs = transformers.AutoModelForCausalLM.from_pretrained(made / "model")
    for adapter in (one, two):
        theirs = peft.PeftModel.from_pretrained(theirs, adapter).merge_and_unload()
    found = load_file(tmp_path / "m" / "model.safetensors")
    assert told["parameters"] == sum(tensor.size for tensor in found.values())
    plain = load_file(made / "model" / "model.safetensors")
    changed = 0
    for name, tensor in found.items():
        np.testing.assert_allclose(tensor, theirs.state_dict()[name].numpy(), atol=1e-6, rtol=0)
        changed += not np.array_equal(tensor, plain[name])
    assert changed == 3 * 5 - 1  # q (two layers), v and the three of the MLP
    tokenizer = models.from_pretrained(tmp_path / "m").tokenizer
    assert tokenizer.encode("Ada") == build().encode("Ada")


def test_what_is_merged_is_rounded_once(made, tmp_path, capsys):
    one, two = made / "adapters" / "one", made / "adapters" / "two"
    both = ["--adapter", one, "--adapter", two, "--merge"]
    convert(capsys, made, tmp_path / "full", *both)
    convert(capsys, made, tmp_path / "half", *both, "--dtype", "bfloat16")
    full, half = (load_file(tmp_path / name / "model.safetensors") for name in ("full", "half"))
    for name, tensor in half.items():
        np.testing.assert_array_equal(tensor, full[name].astype(tensor.dtype), err_msg=name)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "half", dtype="auto")
    assert loaded.dtype == torch.bfloat16


def test_shards_are_written_one_after_the_other(made, params, tmp_path):
    count = models.merge_checkpoint(
        made / "model", tmp_path, [made / "adapters" / "one"], dtype="float16", max_shard_bytes=30_000
    )
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 3
    found = models.from_pretrained(tmp_path)
    adapter = models.load_peft(made / "adapters" / "one", params, CONFIG)
    wanted = adapters.materialize(adapters.attach(params, adapter))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), found.params, wanted)
    assert count == sum(x.size for x in jax.tree.leaves(params))


def test_an_adapter_is_rewritten_for_vllm(made, params, tmp_path, capsys):
    one = made / "adapters" / "one"
    told = convert(capsys, made, tmp_path / "v", "--adapter", one, "--to", "vllm", "--dtype", "float16")
    assert (told["to"], told["dtype"], told["merged"]) == ("vllm", "float16", False)
    settings = json.loads((tmp_path / "v" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "owner/base"
    assert settings["r"] == settings["lora_alpha"] == 2
    assert not settings["rank_pattern"]
    assert not settings["alpha_pattern"]
    assert {t.dtype for t in load_file(tmp_path / "v" / "adapter_model.safetensors").values()} == {np.dtype("float16")}
    again, before = (models.load_peft(path, params, CONFIG) for path in (tmp_path / "v", one))
    products = [
        {path: jnp.einsum("lir,lro,l->lio", *entry.values()) for path, entry in adapter.items()}
        for adapter in (again, before)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2e-2), *products)
    convert(capsys, made, tmp_path / "named", "--adapter", one, "--to", "vllm", "--base-model", "served")
    settings = json.loads((tmp_path / "named" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "served"


def test_a_directory_of_adapters_becomes_another(made, params, tmp_path, capsys):
    told = convert(capsys, made, tmp_path / "d", "--adapter", made / "adapters", "--to", "peft")
    assert told["adapters"] == ["one", "two"]
    before, after = (models.load_peft_stack(path, params, CONFIG) for path in (made / "adapters", tmp_path / "d"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), before, after)
    one, two = made / "adapters" / "one", made / "adapters" / "two"
    assert main(["convert", str(made / "model"), str(tmp_path / "e"), *flags(one, two), "--to", "vllm"]) == 0
    assert "2 adapters (one, two)" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "e").iterdir()) == ["one", "two"]


def flags(*folders):
    return [argument for folder in folders for argument in ("--adapter", str(folder))]


def test_an_adapter_that_holds_a_copy_of_the_head(made, params, tmp_path, capsys):
    model = transformers.AutoModelForCausalLM.from_pretrained(made / "model")
    theirs = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["lm_head"], init_lora_weights=False))
    theirs.save_pretrained(tmp_path / "head", save_embedding_layers=True)
    assert any("base_layer" in name for name in load_file(tmp_path / "head" / "adapter_model.safetensors"))
    convert(capsys, made, tmp_path / "p", "--adapter", tmp_path / "head", "--to", "peft")
    assert list(models.load_peft(tmp_path / "p", params, CONFIG)) == ["lm_head/kernel"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "peft"], "--to peft writes adapters"),
        (["--to", "vllm", "--adapter", "{one}", "--merge"], "--to vllm writes adapters"),
        (["--merge"], "give --adapter DIR and --merge together"),
        (["--adapter", "{one}"], "give --adapter DIR and --merge together"),
        (["--base-model", "x"], "--base-model is written into adapters"),
        (["--adapter", "{root}/adapters", "--merge"], "--merge takes one adapter at each --adapter"),
        (["--adapter", "{one}", "--adapter", "{one}", "--to", "peft"], "rename one of them"),
        (["--adapter", "{root}/model", "--to", "peft"], "holds no adapters"),
        (["--adapter", "{root}/none", "--merge"], "none"),
        (["--adapter", "{root}/model/config.json", "--merge"], "config.json is a file: --adapter takes a LoRA adapter"),
        (["--dtype", "int8"], "int8"),
    ],
)
def test_requests_that_make_no_sense(made, tmp_path, capsys, arguments, message):
    given = [a.format(root=made, one=made / "adapters" / "one") for a in arguments]
    assert main_code(["convert", str(made / "model"), str(tmp_path / "x"), *given]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "x").exists()


def main_code(arguments):
    """The exit code, which tyro tells by leaving."""
    try:
        return main(arguments)
    except SystemExit as left:
        return left.code


def test_a_destination_that_is_not_free(made, tmp_path, capsys):
    (tmp_path / "file").write_text("kept")
    inside = made / "adapters" / "three"
    for dst, message in ((tmp_path, "not an empty directory"), (inside, "inside of --adapter")):
        arguments = ["convert", str(made / "model"), str(dst), "--adapter", str(made / "adapters"), "--to", "peft"]
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
    assert not pathlib.Path(inside).exists()
    assert (tmp_path / "file").read_text() == "kept"


def test_a_refused_adapter_leaves_nothing_behind(made, tmp_path, capsys):
    bad = tmp_path / "bad"
    models.save_peft(bad, random_adapter(models.init(jax.random.key(0), CONFIG), 1, rank=2, alpha=4), CONFIG)
    settings = json.loads((bad / "adapter_config.json").read_text())
    (bad / "adapter_config.json").write_text(json.dumps({**settings, "use_dora": True}))
    for more in (["--merge"], ["--to", "peft"]):
        given = flags(made / "adapters" / "one", bad)
        assert main(["convert", str(made / "model"), str(tmp_path / "x"), *given, *more]) == 2
        assert "use_dora" in capsys.readouterr().err
        assert not (tmp_path / "x").exists()
