"""Adapters that `peft` writes for models whose output layer is the embedding."""

import copy
import json

import peft
import pytest
from safetensors.numpy import load_file, save_file

from seal_jax import models

CONFIG_FILE, TENSORS = "adapter_config.json", "adapter_model.safetensors"
TIED = ["qwen2", "gpt_neox_sequential", "gpt_neo"]  # the second calls its output layer otherwise in files


def tied_adapter(row, folder, targets, **options):
    settings = peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=targets)
    model = peft.get_peft_model(copy.deepcopy(row.theirs), settings)
    model.save_pretrained(folder, **options)
    return [name for name in load_file(folder / TENSORS) if "lm_head" in name]


@pytest.mark.parametrize("family", TIED)
def test_copies_of_a_tied_embedding_beside_an_adapter(family, build_row, tmp_path):
    row = build_row(family)
    targets = ["query_key_value" if "neox" in family else "q_proj"]
    [head] = tied_adapter(row, tmp_path, targets, save_embedding_layers=True)
    assert len(models.load_peft(tmp_path, row.ours.params, row.ours.config)) == 1
    tensors = load_file(tmp_path / TENSORS)
    save_file({**tensors, head: tensors[head] + 1}, tmp_path / TENSORS)
    with pytest.raises(models.CheckpointError, match=f"{head}.* differs from the base model's"):
        models.load_peft(tmp_path, row.ours.params, row.ours.config)


@pytest.mark.parametrize("family", TIED)
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
def test_an_adapter_of_a_tied_output_layer_is_refused_by_name(family, build_row, tmp_path):
    row = build_row(family)
    assert tied_adapter(row, tmp_path, ["lm_head"])
    with pytest.raises(models.CheckpointError, match=r"lm_head.* tied to the embedding"):
        models.load_peft(tmp_path, row.ours.params, row.ours.config)
    config = json.loads((tmp_path / CONFIG_FILE).read_text())
    (tmp_path / CONFIG_FILE).write_text(json.dumps({**config, "target_modules": ["lm_head", "o_proj", "out_proj"]}))
    tensors = load_file(tmp_path / TENSORS)
    save_file({name: t for name, t in tensors.items() if "lora_" not in name}, tmp_path / TENSORS)
    with pytest.raises(models.CheckpointError, match=r"target_modules names 'lm_head'.* tied to the embedding"):
        models.load_peft(tmp_path, row.ours.params, row.ours.config)
