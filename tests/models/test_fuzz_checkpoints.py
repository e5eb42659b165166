"""Malformed model directories: each is one CheckpointError that names the culprit, in bounded time and memory."""

import contextlib
import json
import os
import shutil

import family_rows
import jax
import ml_dtypes
import numpy as np
import pytest
from damage import entry, raw, watched
from safetensors.numpy import load_file, save_file

from seal_jax import models
from seal_jax.data.worlds.tokenizer import build
from seal_jax.models.families import config_from_hf
from seal_jax.models.layout import leaves

CONFIG = models.Config("llama", 64, 16, 24, 2, 2, 1, 8, 32)
SETTINGS, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
FIRST = "model-00001-of-00004.safetensors"
Q_PROJ = "model.layers.1.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The same checkpoint in one file and in several."""
    root = tmp_path_factory.mktemp("made")
    params = models.init(jax.random.key(0), CONFIG)
    models.save_pretrained(root / "whole", CONFIG, params)
    models.save_pretrained(root / "sharded", CONFIG, params, max_shard_bytes=8_000)
    return root


def fields(**changed):
    def change(folder):
        path = folder / SETTINGS
        path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))

    return change


def content(name, data):
    return lambda folder: (folder / name).write_bytes(data)


def header(**entries):
    return content(WEIGHTS, raw(entries))


def tensors(change):
    def apply(folder):
        found = load_file(folder / WEIGHTS)
        change(found)
        save_file(found, folder / WEIGHTS)

    return apply


def replaced(name, make):
    def apply(folder):
        (folder / name).unlink()
        make(folder / name)

    return apply


def linked(name, target):
    return replaced(name, lambda path: path.symlink_to(target))


def pointing(target):
    """An index by which one tensor is in another file."""

    def change(folder):
        index = json.loads((folder / INDEX).read_text())
        index["weight_map"][Q_PROJ] = target
        (folder / INDEX).write_text(json.dumps(index))

    return change


def permuted(folder):
    """Two tensors of different shapes exchanged."""
    found = load_file(folder / WEIGHTS)
    one, two = "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.down_proj.weight"
    save_file({**found, one: found[two], two: found[one]}, folder / WEIGHTS)


WHOLE = {
    "settings a directory": (replaced(SETTINGS, lambda p: p.mkdir()), [SETTINGS]),
    "settings a pipe": (replaced(SETTINGS, os.mkfifo), [SETTINGS]),
    "settings linked to outside": (linked(SETTINGS, "../outside/config.json"), [SETTINGS, "outside"]),
    "settings with a key twice": (content(SETTINGS, b'{"model_type": "llama", "model_type": "x"}'), ["model_type"]),
    "settings with a byte order mark": (content(SETTINGS, b'\xef\xbb\xbf{"model_type": "llama"}'), [SETTINGS]),
    "settings in UTF-16": (content(SETTINGS, '{"model_type": "llama"}'.encode("utf-16")), [SETTINGS]),
    "settings deep": (content(SETTINGS, b'{"a":' * 100_000), [SETTINGS]),
    "generation settings cut": (content("generation_config.json", b"{"), ["generation_config.json"]),
    "generation settings a list": (content("generation_config.json", b"[1]"), ["generation_config.json"]),
    "generation settings outside": (
        linked("generation_config.json", "../outside/generation_config.json"),
        ["generation_config.json", "outside"],
    ),
    "end tokens of strings": (content("generation_config.json", b'{"eos_token_id": ["x"]}'), ["eos_token_id"]),
    "a billion layers": (fields(num_hidden_layers=10**9), ["num_hidden_layers"]),
    "layers beyond integers": (fields(num_hidden_layers=10**400), ["num_hidden_layers"]),
    "a huge vocabulary": (fields(vocab_size=2**40), ["embed_tokens"]),
    "sizes beyond integers": (fields(vocab_size=10**30), ["vocab_size"]),
    "a million heads": (fields(num_attention_heads=10**6, num_key_value_heads=1), []),
    "weights a directory": (replaced(WEIGHTS, lambda p: p.mkdir()), []),
    "weights a pipe": (replaced(WEIGHTS, os.mkfifo), []),
    "weights linked to outside": (linked(WEIGHTS, "../outside/model.safetensors"), [WEIGHTS, "outside"]),
    "header length huge": (content(WEIGHTS, raw(b"{}", length=2**63)), [WEIGHTS]),
    "header deep": (content(WEIGHTS, raw(b'{"a":' * 50_000)), [WEIGHTS]),
    "header empty": (content(WEIGHTS, raw(b"")), [WEIGHTS]),
    "header not UTF-8": (content(WEIGHTS, raw(b'{"\xff": 1}')), [WEIGHTS]),
    "shape huge": (header(**{Q_PROJ: entry([2**40, 2**20], 0, 0)}), [WEIGHTS]),
    "shape that overflows": (header(**{Q_PROJ: entry([2**62, 2**62], 0, 0)}), [WEIGHTS]),
    "offsets beyond the file": (header(**{Q_PROJ: entry([16, 16], 0, 2**50)}), [WEIGHTS]),
    "offsets that overlap": (
        content(WEIGHTS, raw({"a": entry([4]), "b": entry([4], 8)}, b"\0" * 24)),
        [WEIGHTS],
    ),
    "types of numbers that are none": (tensors(lambda t: t.update({Q_PROJ: np.ones((16, 16), bool)})), [Q_PROJ]),
    "eight bits": (
        tensors(lambda t: t.update({Q_PROJ: np.ones((16, 16), ml_dtypes.float8_e5m2)})),
        [Q_PROJ, "F8_E5M2"],
    ),
    "complex": (tensors(lambda t: t.update({Q_PROJ: np.ones((16, 16), np.complex64)})), [Q_PROJ]),
    "permuted": (permuted, ["layers.0.mlp"]),
    "a name in other letters": (tensors(lambda t: t.update({Q_PROJ.replace("q", "ԛ"): t.pop(Q_PROJ)})), [Q_PROJ]),
    "a layer more": (tensors(lambda t: t.update({Q_PROJ.replace("1", "2"): t[Q_PROJ]})), ["layers.2"]),
    "NaN in a norm": (
        tensors(lambda t: t.update({"model.norm.weight": np.full(16, np.nan, np.float32)})),
        ["model.norm.weight", "NaN"],
    ),
}
SHARDED = {
    "index above": (pointing("../outside/" + WEIGHTS), [INDEX, Q_PROJ]),
    "index absolute": (pointing("/etc/passwd.safetensors"), [INDEX, Q_PROJ]),
    "index below": (pointing("sub/x.safetensors"), [INDEX, Q_PROJ]),
    "index with backslashes": (pointing("..\\outside\\model.safetensors"), ["..\\outside"]),
    "index with a zero byte": (pointing("a\0.safetensors"), [Q_PROJ]),
    "index to nothing": (pointing(".safetensors"), []),
    "index to a missing file": (pointing("model-00009-of-00004.safetensors"), ["model-00009-of-00004.safetensors"]),
    "index of numbers": (pointing(7), [INDEX, Q_PROJ]),
    "index of a name that is too long": (pointing("a" * 5000 + ".safetensors"), ["aaaa"]),
    "index with a lone surrogate": (content(INDEX, b'{"weight_map": {"a": "\\ud800.safetensors"}}'), []),
    "index of a tensor twice": (
        content(INDEX, b'{"weight_map": {"a": "1.safetensors", "a": "2.safetensors"}}'),
        ["'a'"],
    ),
    "index a list": (content(INDEX, b"[]"), [INDEX]),
    "index cut": (content(INDEX, b'{"weight_map": {'), [INDEX]),
    "index deep": (content(INDEX, b'{"weight_map":' * 100_000), [INDEX]),
    "index a directory": (replaced(INDEX, lambda p: p.mkdir()), []),
    "index linked to outside": (linked(INDEX, "../outside/" + INDEX), [INDEX, "outside"]),
    "a shard linked to outside": (linked(FIRST, "../outside/" + FIRST), [FIRST, "outside"]),
    "a shard a directory": (replaced(FIRST, lambda p: p.mkdir()), [FIRST]),
    "a shard empty": (content(FIRST, b""), [FIRST]),
}
BAD = {
    f"{kind}: {name}": (kind, *case)
    for kind, cases in (("whole", WHOLE), ("sharded", SHARDED))
    for name, case in cases.items()
}


def refused(folder, named):
    with watched(folder), pytest.raises(models.CheckpointError) as caught:
        models.from_pretrained(folder)
    for word in [folder, *named]:
        assert str(word) in str(caught.value)
    assert len(str(caught.value)) < 8000


@pytest.mark.parametrize(("kind", "damage", "named"), BAD.values(), ids=BAD)
def test_malformed_checkpoint_is_one_clear_error(made, tmp_path, kind, damage, named):
    shutil.copytree(made / kind, tmp_path / "outside")
    folder = shutil.copytree(made / kind, tmp_path / "model")
    damage(folder)
    refused(folder, named)


@pytest.mark.parametrize("kind", ["whole", "sharded"])
def test_the_undamaged_checkpoint_loads_within_the_same_bounds(made, tmp_path, kind):
    folder = shutil.copytree(made / kind, tmp_path / "model")
    with watched(folder):
        models.from_pretrained(folder)


def changed_json(name, change):
    def apply(folder):
        values = json.loads((folder / name).read_text())
        change(values)
        (folder / name).write_text(json.dumps(values))

    return apply


TOKENIZERS = {
    "cut": content("tokenizer.json", b'{"version": "1.0", "model": {'),
    "empty": content("tokenizer.json", b""),
    "not UTF-8": content("tokenizer.json", b"\xff\xfe\x00"),
    "a list": content("tokenizer.json", b"[]"),
    "deep": content("tokenizer.json", b'{"model":' * 50_000),
    "without a model": changed_json("tokenizer.json", lambda v: v.pop("model")),
    "a model of no kind": changed_json("tokenizer.json", lambda v: v.update(model={"type": "Telepathy"})),
    "a vocabulary of strings": changed_json("tokenizer.json", lambda v: v["model"].update(vocab={"a": "b"})),
    "merges of numbers": changed_json("tokenizer.json", lambda v: v["model"].update(type="BPE", merges=[1, 2])),
    "a directory": replaced("tokenizer.json", lambda p: p.mkdir()),
    "linked to outside": linked("tokenizer.json", "../outside/tokenizer.json"),
    "settings a list": content("tokenizer_config.json", b"[]"),
    "settings cut": content("tokenizer_config.json", b"{"),
    "settings linked to outside": linked("tokenizer_config.json", "../outside/tokenizer_config.json"),
    "settings of another file": changed_json(
        "tokenizer_config.json", lambda v: v.update(tokenizer_file="../outside/tokenizer.json")
    ),
    "settings of versions elsewhere": changed_json(
        "tokenizer_config.json", lambda v: v.update(fast_tokenizer_files=["../outside/tokenizer.4.0.0.json"])
    ),
    "settings that name code": changed_json(
        "tokenizer_config.json", lambda v: v.update(auto_map={"AutoTokenizer": ["code.Tokenizer", None]})
    ),
}


@pytest.fixture(scope="module")
def with_tokenizer(made, tmp_path_factory):
    folder = shutil.copytree(made / "whole", tmp_path_factory.mktemp("tokenizer") / "model")
    build().save_pretrained(folder)
    assert models.from_pretrained(folder).tokenizer.encode("Ada")  # and the import is not counted below
    return folder


@pytest.mark.parametrize("damage", TOKENIZERS.values(), ids=TOKENIZERS)
def test_malformed_tokenizer_is_one_clear_error(with_tokenizer, tmp_path, damage):
    shutil.copytree(with_tokenizer, tmp_path / "outside")
    folder = shutil.copytree(with_tokenizer, tmp_path / "model")
    damage(folder)
    refused(folder, [])


def test_where_an_author_s_special_tokens_were_is_not_asked(with_tokenizer, tmp_path):
    folder = shutil.copytree(with_tokenizer, tmp_path / "model")
    changed_json(
        "tokenizer_config.json", lambda v: v.update(special_tokens_map_file="/home/a/special_tokens_map.json")
    )(folder)
    assert models.from_pretrained(folder).tokenizer.encode("Ada")  # as EleutherAI's checkpoints come


WRONG = [None, True, -1, 0, 1.5, 10**400, float("nan"), "x", "\ud800", [], [None], {}, {"a": {}}, [[1]]]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", family_rows.ROWS)
def test_every_field_of_every_family_with_every_wrong_type(name):
    values = json.loads(family_rows.ROWS[name]().to_json_string(use_diff=False))
    values["architectures"] = None
    assert config_from_hf(values).num_layers == 3
    refused = 0
    for field in values:
        for wrong in WRONG:
            with contextlib.suppress(models.CheckpointError):
                leaves(config_from_hf({**values, field: wrong}))
                continue
            refused += 1
    assert refused > 50


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [SETTINGS, WEIGHTS])
def test_random_damage_is_a_checkpoint_error_or_harmless(made, tmp_path, name):
    folder = shutil.copytree(made / "whole", tmp_path / "model")
    rng = np.random.default_rng(0)
    whole = (folder / name).read_bytes()
    errors = []
    for _ in range(100):
        data = bytearray(whole[: rng.integers(1, len(whole))] if rng.random() < 0.2 else whole)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            data[at % 400] = rng.integers(256)
        (folder / name).write_bytes(bytes(data))
        with contextlib.suppress(models.CheckpointError):
            models.from_pretrained(folder)
            continue
        errors.append(data)
    assert len(errors) > 50
