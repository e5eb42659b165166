"""Loss for loss with PEFT: the same model, the same initial LoRA, batch 1, AdamW, linear decay, clipping at 1."""

import jax
import numpy as np
import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model

from seal_jax import adapters, models, training

STEPS, WIDTH, EOS, RATE = 10, 24, 3, 1e-2
SIZES = dict(  # noqa: C408
    vocab_size=64,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    initializer_range=0.3,
    pad_token_id=EOS,
    eos_token_id=EOS,
)
FAMILIES = {
    "qwen2": lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SIZES, tie_word_embeddings=True)),
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)),
}


@pytest.fixture(scope="module", params=FAMILIES)
def setting(request, tmp_path_factory):
    """The HF model with a PEFT LoRA, our model from its files, and the LoRA both start from."""
    torch.manual_seed(0)
    base = FAMILIES[request.param]()
    folder = tmp_path_factory.mktemp(request.param)
    base.save_pretrained(folder)
    ours = models.from_pretrained(folder)
    adapter = adapters.lora.init(jax.random.key(1), ours.params, rank=4, alpha=8, targets=("q_proj", "v_proj"))
    lora = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    return get_peft_model(base, lora), ours, adapter


@pytest.fixture(scope="module")
def batches():
    rng = np.random.default_rng(0)
    mask = np.arange(WIDTH) < rng.integers(6, WIDTH, (STEPS, 1, 1))
    tokens = np.where(mask, rng.integers(4, 64, mask.shape), EOS).astype(np.int32)
    return {"tokens": tokens, "mask": mask}


def copy_adapter(peft_model, adapter):
    for path, entry in adapter.items():
        module_name = path.removeprefix("layers/").removesuffix("/kernel").replace("/", ".")
        for i in range(entry["a"].shape[0]):
            module = peft_model.get_submodule(f"base_model.model.model.layers.{i}.{module_name}")
            with torch.no_grad():
                module.lora_A.default.weight.copy_(torch.tensor(np.asarray(entry["a"][i].T)))
                module.lora_B.default.weight.zero_()


def train_peft(model, batches, pad_loss):
    """One optimizer step a batch, as HF Trainer does it; returns the losses and the gradient norms before clipping."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 0, STEPS)
    losses, norms = [], []
    for tokens, mask in zip(batches["tokens"], batches["mask"]):
        ids, attention = torch.tensor(tokens).long(), torch.tensor(mask).long()
        labels = ids if pad_loss == "reference" else ids.masked_fill(attention == 0, -100)
        loss = model(input_ids=ids, attention_mask=attention, labels=labels).loss
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(trained, 1.0)))
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return np.array(losses), np.array(norms)


@pytest.mark.parametrize("pad_loss", ["masked", "reference"])
def test_ten_losses_match_peft(setting, batches, pad_loss):
    peft_model, ours, adapter = setting
    copy_adapter(peft_model, adapter)
    losses, norms = train_peft(peft_model, batches, pad_loss)
    loss_fn, hyper = training.lm_loss(pad_loss), training.Hyper(RATE, STEPS)
    metrics = training.finetune(ours.params, ours.config, adapter, batches, hyper, loss_fn=loss_fn)[1]
    np.testing.assert_allclose(metrics["loss"], losses, atol=1e-5)
    np.testing.assert_allclose(metrics["grad_norm"], norms, rtol=1e-5)
    # The run is worth comparing: clipping acts, and the adapter moves the loss by far more than the tolerance.
    assert norms.max() > 1
    frozen = hyper._replace(learning_rate=0.0)
    still = training.finetune(ours.params, ours.config, adapter, batches, frozen, loss_fn=loss_fn)[1]
    assert np.abs(still["loss"] - metrics["loss"]).max() > 0.05
