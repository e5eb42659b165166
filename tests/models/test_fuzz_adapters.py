"""Malformed adapter directories: each is one CheckpointError that names the culprit, in bounded time and memory."""

import contextlib
import json
import os
import shutil

import jax
import numpy as np
import pytest
from damage import entry, raw, watched
from safetensors.numpy import load_file, save_file

from seal_jax import adapters, models

CONFIG = models.Config("llama", 64, 16, 24, 2, 2, 1, 8, 32)
SETTINGS, TENSORS = "adapter_config.json", "adapter_model.safetensors"
A_NAME = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
NAMES = [
    f"base_model.model.model.layers.{i}.self_attn.{kind}_proj.lora_{side}.weight"
    for i in range(2)
    for kind in "qv"
    for side in "AB"
]


@pytest.fixture(scope="module")
def params():
    return models.init(jax.random.key(0), CONFIG)


@pytest.fixture(scope="module")
def good(params, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapter") / "good"
    adapter = adapters.lora.init(jax.random.key(1), params, rank=2, alpha=4)
    models.save_peft(folder, jax.tree.map(lambda x: x + 0.5, adapter), CONFIG)
    return folder


@pytest.fixture
def folder(good, tmp_path):
    """A good adapter, with a copy beside it that nothing may read."""
    shutil.copytree(good, tmp_path / "outside")
    return shutil.copytree(good, tmp_path / "adapter")


def settings(**fields):
    def change(folder):
        path = folder / SETTINGS
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return change


def content(name, data):
    return lambda folder: (folder / name).write_bytes(data)


def header(**fields):
    """A file whose header has these entries and no data."""
    return content(TENSORS, raw(fields))


def tensors(change):
    def apply(folder):
        found = load_file(folder / TENSORS)
        change(found)
        save_file(found, folder / TENSORS)

    return apply


def linked(name, target):
    def apply(folder):
        (folder / name).unlink()
        (folder / name).symlink_to(target)

    return apply


def directory(name):
    def apply(folder):
        (folder / name).unlink()
        (folder / name).mkdir()

    return apply


def pipe(name):
    def apply(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return apply


def cut(name, keep):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:keep])


def with_duplicate_key(folder):
    """A header in which one tensor is described twice, the second time differently."""
    first, second = json.dumps(entry([2, 16])), json.dumps(entry([2, 16], 128))
    text = f'{{"{A_NAME}": {first}, "{A_NAME}": {second}}}'.encode()
    (folder / TENSORS).write_bytes(raw(text, b"\0" * 256))


A = A_NAME
BAD = {
    # adapter_config.json as a file
    "no settings": (lambda f: (f / SETTINGS).unlink(), [SETTINGS]),
    "settings empty": (content(SETTINGS, b""), [SETTINGS]),
    "settings cut": (cut(SETTINGS, 40), [SETTINGS]),
    "settings a list": (content(SETTINGS, b"[]"), [SETTINGS]),
    "settings not UTF-8": (content(SETTINGS, b'{"r": "\xff"}'), [SETTINGS]),
    "settings deep": (content(SETTINGS, b'{"r":' * 100_000), [SETTINGS]),
    "settings with a key twice": (content(SETTINGS, b'{"peft_type": "LORA", "r": 2, "r": 3}'), [SETTINGS, "'r'"]),
    "settings a huge number": (content(SETTINGS, b'{"r": ' + b"9" * 10_000 + b"}"), [SETTINGS]),
    "settings a directory": (directory(SETTINGS), [SETTINGS]),
    "settings a pipe": (pipe(SETTINGS), [SETTINGS]),
    "settings linked to outside": (linked(SETTINGS, "../outside/" + SETTINGS), [SETTINGS, "outside"]),
    "settings linked to themselves": (linked(SETTINGS, SETTINGS), [SETTINGS]),
    # its fields
    "r negative": (settings(r=-1), ["r=-1"]),
    "r true": (settings(r=True), ["r=True"]),
    "r fractional": (settings(r=2.5), ["r=2.5"]),
    "r a string": (settings(r="2"), ["r='2'"]),
    "r huge": (settings(r=10**12), [A, "(1000000000000, 16)"]),
    "r beyond floats": (settings(r=10**400), ["r=1000"]),
    "alpha beyond floats": (settings(lora_alpha=10**400), ["lora_alpha"]),
    "alpha NaN": (settings(lora_alpha=float("nan")), ["lora_alpha"]),
    "alpha infinite": (settings(lora_alpha=float("inf")), ["lora_alpha"]),
    "alpha a list": (settings(lora_alpha=[4]), ["lora_alpha"]),
    "rank pattern a list": (settings(rank_pattern=["q_proj"]), ["rank_pattern"]),
    "rank pattern of lists": (settings(rank_pattern={"q_proj": [2]}), ["rank_pattern", "q_proj"]),
    "rank pattern huge": (settings(rank_pattern={"q_proj": 10**14}), [A]),
    "rank pattern unreadable": (settings(rank_pattern={"q_proj)": 2}), ["rank_pattern"]),
    "alpha pattern of strings": (settings(alpha_pattern={"q_proj": "x"}), ["alpha_pattern", "q_proj"]),
    "targets a number": (settings(target_modules=7), ["target_modules"]),
    "targets of numbers": (settings(target_modules=[7]), ["target_modules"]),
    "targets of nothing": (settings(target_modules=[]), ["target_modules"]),
    "targets that would run for years": (settings(target_modules="(((.*)*)*)*x"), ["target_modules"]),
    "targets nested deep": (settings(target_modules="(" * 5000 + ")" * 5000), ["target_modules"]),
    "targets a long expression": (settings(target_modules="a|" * 20_000), ["target_modules"]),
    "targets with a lone surrogate": (settings(target_modules=["q_proj\ud800"]), ["target_modules"]),
    "targets in other letters": (settings(target_modules=["q_proȷ", "v_proj"]), [A]),
    "layers negative": (settings(layers_to_transform=[-1]), ["layers_to_transform"]),
    "layers of objects": (settings(layers_to_transform=[{}]), ["layers_to_transform"]),
    "type a list": (settings(peft_type=["LORA"]), ["peft_type"]),
    "type lower case": (settings(peft_type="lora"), ["peft_type"]),
    "task an object": (settings(task_type={}), ["task_type"]),
    "init an object": (settings(init_lora_weights={"a": 1}), ["init_lora_weights"]),
    "bias a list": (settings(bias=["none"]), ["bias"]),
    "rslora a string": (settings(use_rslora="yes"), ["use_rslora"]),
    "unknown field": (settings(**{"new\u202efield": [1]}), ["field"]),
    # adapter_model.safetensors as a file
    "no tensors": (lambda f: (f / TENSORS).unlink(), [TENSORS]),
    "tensors empty": (content(TENSORS, b""), [TENSORS]),
    "tensors cut in the length": (cut(TENSORS, 5), [TENSORS]),
    "tensors cut in the header": (cut(TENSORS, 100), [TENSORS]),
    "tensors cut in the data": (cut(TENSORS, -1), [TENSORS]),
    "tensors with more data": (lambda f: (f / TENSORS).open("ab").write(b"x" * 9), [TENSORS]),
    "tensors a directory": (directory(TENSORS), [TENSORS]),
    "tensors a pipe": (pipe(TENSORS), [TENSORS]),
    "tensors linked to outside": (linked(TENSORS, "../outside/" + TENSORS), [TENSORS, "outside"]),
    "tensors linked to nothing": (linked(TENSORS, "nothing"), [TENSORS]),
    "a pickle in their place": (
        lambda f: (f / TENSORS).rename(f / "adapter_model.bin"),
        ["adapter_model.bin", "pickle"],
    ),
    "a pickle by their name": (content(TENSORS, b"\x80\x04\x95" + b"c" * 99), [TENSORS]),
    "header length huge": (content(TENSORS, raw(b"{}", length=2**63)), [TENSORS]),
    "header length beyond the file": (content(TENSORS, raw(b"{}", length=2**20)), [TENSORS]),
    "header not JSON": (content(TENSORS, raw(b"<html></html>")), [TENSORS]),
    "header not UTF-8": (content(TENSORS, raw(b'{"\xff": 1}')), [TENSORS]),
    "header deep": (content(TENSORS, raw(b'{"a":' * 50_000)), [TENSORS]),
    "header a list": (content(TENSORS, raw(b"[]")), [TENSORS]),
    "header with a name twice": (with_duplicate_key, [TENSORS]),
    "header of other types": (header(**{A: [1, 2]}), [TENSORS]),
    "shape huge": (header(**{A: entry([2**40, 2**20], 0, 0)}), [TENSORS]),
    "shape that overflows": (header(**{A: entry([2**62, 2**62], 0, 0)}), [TENSORS]),
    "shape negative": (header(**{A: entry([-2, 16], 0, 0)}), [TENSORS]),
    "shape fractional": (header(**{A: entry([2.5, 16], 0, 0)}), [TENSORS]),
    "offsets beyond the file": (header(**{A: entry([2, 16])}), [TENSORS]),
    "offsets negative": (header(**{A: entry([2, 16], -128, 0)}), [TENSORS]),
    "offsets backwards": (header(**{A: entry([2, 16], 128, 0)}), [TENSORS]),
    "offsets that overlap": (
        content(TENSORS, raw({n: entry([2, 16]) for n in NAMES[:2]}, b"\0" * 128)),
        [TENSORS],
    ),
    "offsets with a hole": (
        content(TENSORS, raw({A: entry([2, 16], 64)}, b"\0" * 192)),
        [TENSORS],
    ),
    "type unknown": (header(**{A: entry([0, 16], 0, 0, "X99")}), [TENSORS]),
    # tensors
    "no tensor": (tensors(lambda t: t.clear()), ["missing"]),
    "a factor missing": (tensors(lambda t: t.pop(A)), [A, "missing"]),
    "integers": (tensors(lambda t: t.update({A: np.ones((2, 16), np.int8)})), [A, "I8"]),
    "truth values": (tensors(lambda t: t.update({A: np.ones((2, 16), bool)})), [A, "BOOL"]),
    "transposed": (tensors(lambda t: t.update({A: np.ones((16, 2), np.float32)})), [A, "(16, 2)"]),
    "a scalar": (tensors(lambda t: t.update({A: np.ones((), np.float32)})), [A, "()"]),
    "no rows": (tensors(lambda t: t.update({A: np.ones((0, 16), np.float32)})), [A, "(0, 16)"]),
    "NaN": (tensors(lambda t: t.update({A: np.full((2, 16), np.nan, np.float32)})), [A, "NaN"]),
    "infinite": (tensors(lambda t: t.update({A: np.full((2, 16), np.inf, np.float16)})), [A, "inf"]),
    "beyond float32": (tensors(lambda t: t.update({A: np.full((2, 16), 1e300)})), [A, "inf"]),
    "a layer more": (tensors(lambda t: t.update({A.replace("0", "2"): t[A]})), ["layers.2"]),
    "a layer minus one": (tensors(lambda t: t.update({A.replace("0", "-1"): t[A]})), ["layers.-1"]),
    "a layer with a leading zero": (tensors(lambda t: t.update({A.replace("0", "00"): t.pop(A)})), ["layers.00"]),
    "a layer in other digits": (tensors(lambda t: t.update({A.replace("0", "٠"): t.pop(A)})), ["layers.٠"]),
    "a name in other letters": (tensors(lambda t: t.update({A.replace("q_", "ԛ_"): t.pop(A)})), ["ԛ_proj"]),
    "a name with a zero byte": (tensors(lambda t: t.update({A + "\0": t.pop(A)})), ["q_proj.lora_A"]),
    "an empty name": (tensors(lambda t: t.update({"": t[A]})), ["''"]),
    "sides exchanged": (tensors(lambda t: t.update({A: t[NAMES[1]], NAMES[1]: t[A]})), [A]),
}


@pytest.mark.parametrize(("damage", "named"), BAD.values(), ids=BAD)
def test_malformed_adapter_is_one_clear_error(folder, params, damage, named):
    damage(folder)
    with watched(folder), pytest.raises(models.CheckpointError) as caught:
        models.load_peft(folder, params, CONFIG)
    for word in [folder, *named]:
        assert str(word) in str(caught.value)
    assert len(str(caught.value)) < 2000


def test_the_undamaged_adapter_loads_within_the_same_bounds(folder, params):
    with watched(folder):
        assert len(models.load_peft(folder, params, CONFIG)) == 2


def test_links_inside_and_into_the_cache_of_the_hub_are_followed(good, params, tmp_path):
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "1", tmp_path / "models--a--b" / "blobs"
    shutil.copytree(good, blobs)
    snapshot.mkdir(parents=True)
    for name in (SETTINGS, TENSORS):
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    assert len(models.load_peft(snapshot, params, CONFIG)) == 2
    (snapshot / TENSORS).unlink()
    (snapshot / "stored").write_bytes((good / TENSORS).read_bytes())
    (snapshot / TENSORS).symlink_to("stored")
    assert len(models.load_peft(snapshot, params, CONFIG)) == 2


@pytest.mark.parametrize("name", [SETTINGS, TENSORS])
def test_random_damage_is_a_checkpoint_error_or_harmless(folder, params, name):
    rng = np.random.default_rng(0)
    whole = (folder / name).read_bytes()
    errors = []
    for _ in range(150):
        data = bytearray(whole[: rng.integers(len(whole))] if rng.random() < 0.2 else whole)
        for at in rng.integers(0, max(len(data), 1), rng.integers(1, 4)):
            if data:
                data[at % min(len(data), 400)] = rng.integers(256)
        (folder / name).write_bytes(bytes(data))
        with contextlib.suppress(models.CheckpointError):
            models.load_peft(folder, params, CONFIG)
            continue
        errors.append(data)
    assert len(errors) > 75
