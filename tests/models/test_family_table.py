"""The parity table: a family is a row of `family_rows.ROWS`, a column is a test that takes the fixture `row`."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import peft
import pytest
import torch
import transformers
from family_rows import batch, forward, our_logits, their_logits
from safetensors.numpy import load_file

from seal_jax import adapters, generation, models, training
from seal_jax.runtime.mesh import make_mesh, shard_leading, use
from seal_jax.runtime.placement import shard_adapters

NEW = 8


@pytest.fixture(scope="module")
def wanted(row):
    """The logits of transformers at the real tokens of `batch`."""
    tokens, mask = batch()
    return their_logits(row.theirs, tokens, mask)[mask]


@pytest.fixture(scope="module")
def saved(row, tmp_path_factory):
    """The directory that our loaded model was saved to."""
    folder = tmp_path_factory.mktemp("ours")
    models.save_pretrained(folder, row.ours.config, row.ours.params)
    return folder


def rms(x):
    return float(np.sqrt(np.mean(np.square(x))))


def test_logits_equal_with_padding_on_either_side(row, wanted):
    tokens, mask = batch()
    assert wanted.std() > 0.3  # else a tolerance of 1e-4 would show nothing
    np.testing.assert_allclose(our_logits(row.ours, tokens, mask)[mask], wanted, atol=1e-4, rtol=0)


def test_scanned_equals_unrolled(row, wanted):
    tokens, mask = batch()
    unrolled = row.ours._replace(params=models.unroll(row.ours.params))
    np.testing.assert_allclose(our_logits(unrolled, tokens, mask)[mask], wanted, atol=1e-4, rtol=0)


def test_greedy_generation_equals_transformers_with_its_cache(row):
    tokens, mask = batch()
    tokens, mask = tokens[[0, 2]], mask[[0, 2]]  # generate pads on the left
    with torch.no_grad():
        theirs = row.theirs.generate(
            input_ids=torch.tensor(tokens, dtype=torch.long),
            attention_mask=torch.tensor(mask, dtype=torch.long),
            max_new_tokens=NEW,
            do_sample=False,
            eos_token_id=None,
            pad_token_id=0,
        )
    prompts = [list(map(int, t[m])) for t, m in zip(tokens, mask)]
    ours = generation.generate(row.ours.params, row.ours.config, prompts, None, max_new_tokens=NEW, eos=())
    assert ours.tokens == theirs[:, tokens.shape[1] :].tolist()


def test_transformers_loads_what_we_save_with_the_same_logits(row, saved):
    theirs = transformers.AutoModelForCausalLM.from_pretrained(saved, attn_implementation="eager").eval()
    assert type(theirs) is type(row.theirs)
    tokens, mask = batch()
    wanted = their_logits(row.theirs, tokens, mask)
    np.testing.assert_array_equal(their_logits(theirs, tokens, mask)[mask], wanted[mask])


def test_round_trip_is_exact(row, saved):
    before, after = (load_file(path / "model.safetensors") for path in (row.folder, saved))
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert tensor.dtype == after[name].dtype
        np.testing.assert_array_equal(tensor, after[name], err_msg=name)
    again = models.from_pretrained(saved)
    assert again.config == row.ours.config
    jax.tree.map(np.testing.assert_array_equal, again.params, row.ours.params)


def test_bfloat16_checkpoint_is_read_and_written_bit_for_bit(row, tmp_path):
    half = {name: p.detach().to(torch.bfloat16) for name, p in row.theirs.state_dict().items()}
    row.theirs.save_pretrained(tmp_path / "theirs", state_dict=half)
    ours = models.from_pretrained(tmp_path / "theirs", dtype="bfloat16")
    models.save_pretrained(tmp_path / "ours", ours.config, ours.params)
    before, after = (load_file(tmp_path / side / "model.safetensors") for side in ("theirs", "ours"))
    assert {str(t.dtype) for t in after.values()} == {"bfloat16"}
    for name, tensor in after.items():
        np.testing.assert_array_equal(tensor.view(np.uint16), before[name].view(np.uint16), err_msg=name)


def test_bfloat16_errs_no_more_than_transformers_in_bfloat16(row):
    """Weights rounded to bfloat16 on both sides; the error is against float32 arithmetic on those rounded weights.

    Ours keeps softmax, rotary angles and logits in float32 where transformers rounds some of them. The ratio of the two
    errors was 0.7 to 1.25 in these rows; 1.5 leaves room for the luck of few positions.
    """
    tokens, mask = batch()
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), row.ours.params)
    exact = np.asarray(forward(jax.tree.map(lambda x: x.astype(jnp.float32), half), row.ours.config, tokens, mask))[
        mask
    ]
    got = our_logits(row.ours._replace(params=half), tokens, mask)[mask]
    theirs = type(row.theirs)(row.theirs.config).eval()
    theirs.load_state_dict(row.theirs.state_dict())
    their_error = rms(their_logits(theirs.to(torch.bfloat16), tokens, mask)[mask] - exact)
    assert 0 < rms(got - exact) < 1.5 * their_error < 0.05 * exact.std()


def adapted_logits(row, adapter, tokens, mask):
    params = adapters.attach(row.ours.params, adapter)
    return our_logits(row.ours._replace(params=params), tokens, mask)[mask]


def random_like(adapter):
    """The adapter with both factors drawn at random, by numpy."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: x if x.ndim == 1 else jnp.asarray(0.2 * rng.normal(size=x.shape), x.dtype), adapter)


def test_peft_in(row, wanted, tmp_path):
    torch.manual_seed(1)
    settings = peft.LoraConfig(
        task_type="CAUSAL_LM", r=3, lora_alpha=5, target_modules="all-linear", alpha_pattern={r"\w+\.1\..*": 2}
    )
    theirs = peft.get_peft_model(copy.deepcopy(row.theirs), settings).eval()
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if "lora_" in name:
                p.copy_(0.2 * torch.randn_like(p))
    theirs.save_pretrained(tmp_path)
    tokens, mask = batch()
    adapted = their_logits(theirs, tokens, mask)[mask]
    assert np.abs(adapted - wanted).max() > 0.5
    adapter = models.load_peft(tmp_path, row.ours.params, row.ours.config)
    np.testing.assert_allclose(adapted_logits(row, adapter, tokens, mask), adapted, atol=1e-4, rtol=0)


def test_peft_out(row, wanted, tmp_path):
    adapter = random_like(adapters.lora.init(jax.random.key(0), row.ours.params, rank=3, alpha=5, targets="all"))
    first = next(iter(adapter.values()))
    first["scale"] = first["scale"].at[1].set(0)  # a layer that is not adapted
    models.save_peft(tmp_path, adapter, row.ours.config)
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(row.theirs), tmp_path).eval()
    tokens, mask = batch()
    adapted = their_logits(theirs, tokens, mask)[mask]
    assert np.abs(adapted - wanted).max() > 0.5
    np.testing.assert_allclose(adapted_logits(row, adapter, tokens, mask), adapted, atol=1e-4, rtol=0)


def test_peft_merged(row, tmp_path):
    """A checkpoint with an adapter of every linear module merged into it, by peft and by us."""
    tied = row.ours.config.tie_embeddings
    targets = ("all",) if tied else ("all", "lm_head")
    adapter = random_like(adapters.lora.init(jax.random.key(0), row.ours.params, rank=2, alpha=3, targets=targets))
    models.save_peft(tmp_path / "adapter", adapter, row.ours.config)
    models.merge_checkpoint(row.folder, tmp_path / "merged", [tmp_path / "adapter"])
    ours = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged").state_dict()
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(row.theirs), tmp_path / "adapter").merge_and_unload()
    plain = row.theirs.state_dict()
    changed = 0
    for name, tensor in theirs.state_dict().items():
        np.testing.assert_allclose(ours[name].numpy(), tensor.numpy(), atol=1e-5, rtol=0, err_msg=name)
        changed += not torch.equal(tensor, plain[name])
    assert changed == sum(len(entry["scale"].reshape(-1)) for entry in adapter.values())


def test_a_mesh_gives_the_results_of_one_device(row):
    """Loaded onto a mesh that splits everything: one forward, and a batch of 8 fine-tunes of one step.

    tests/meshes has each kind of layout by itself, for one family.
    """
    mesh = make_mesh("data=2,fsdp=2,model=2")
    config, one = row.ours.config, row.ours.params
    spread = models.from_pretrained(row.folder, mesh=mesh).params
    tokens, mask = np.tile(batch()[0], (3, 1))[:8], np.tile(batch()[1], (3, 1))[:8]
    rows = shard_leading({"tokens": tokens, "mask": mask}, mesh)
    with use(mesh):
        logits = forward(spread, config, rows["tokens"], rows["mask"])
    np.testing.assert_allclose(
        np.asarray(logits)[mask], np.asarray(forward(one, config, tokens, mask))[mask], atol=1e-4
    )
    keys = jax.random.split(jax.random.key(0), 8)
    fresh = jax.vmap(lambda key: adapters.lora.init(key, one, 2, 4, ("all",)))(keys)
    batches = {name: x[:, None, None] for name, x in (("tokens", tokens), ("mask", mask))}
    hyper = training.Hyper(1e-2, 1)
    wanted = training.finetune_batch(one, config, fresh, batches, hyper)
    found = training.finetune_batch(
        spread, config, shard_adapters(fresh, mesh, config), shard_leading(batches, mesh), hyper
    )
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-4)
