"""Tiny random models of several families and tokenizers of several kinds, for the tests of judges and embeddings."""

import pathlib

import tokenizers
import torch
import transformers
from tokenizers import decoders, normalizers, pre_tokenizers, processors, trainers

from seal_jax.data.worlds import tokenizer as world
from seal_jax.rain.judges import template

TEXTS = [path.read_text(encoding="utf-8") for path in sorted(pathlib.Path(template.TEMPLATES).glob("*.txt"))]
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "initializer_range": 0.4,
}
FAMILIES = {
    "llama": lambda v: transformers.LlamaConfig(vocab_size=v, **SIZES),
    "qwen2": lambda v: transformers.Qwen2Config(vocab_size=v, tie_word_embeddings=True, **SIZES),
    "gemma2": lambda v: transformers.Gemma2Config(
        vocab_size=v, head_dim=8, sliding_window=64, final_logit_softcapping=8.0, **SIZES
    ),
}
MODELS = {
    "llama": transformers.LlamaForCausalLM,
    "qwen2": transformers.Qwen2ForCausalLM,
    "gemma2": transformers.Gemma2ForCausalLM,
}


def save(family, folder, tokenizer):
    """A random model with the tokenizer in a folder; the torch model, in float32."""
    torch.manual_seed(0)
    model = MODELS[family](FAMILIES[family](len(tokenizer)))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model.eval()


def byte_level(bos=True, eos=False):
    """Byte-level BPE as GPT's and Llama 3's, whose tokens span punctuation: "Answer: (A)" has a token " (" or " (A"."""
    inner = tokenizers.Tokenizer(tokenizers.models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "<pad>"]
    inner.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=inner.pre_tokenizer.alphabet()),
    )
    single = f"{'<s> ' if bos else ''}$A{' </s>' if eos else ''}"
    inner.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("<s>", 0), ("</s>", 1)])
    return _wrapped(inner)


def metaspace():
    """BPE over "▁", which is put before every text, as Llama 2's; bytes for what it does not know."""
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<s>", "</s>", "<pad>", "<unk>", *(f"<0x{b:02X}>" for b in range(256))]
    inner.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    inner.train_from_iterator(
        [line for text in TEXTS for line in text.splitlines()],
        trainers.BpeTrainer(vocab_size=700, special_tokens=special),
    )
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return _wrapped(inner)


TOKENIZERS = {"byte_level": byte_level, "metaspace": metaspace, "unigram": world.build}


def _wrapped(inner):
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        clean_up_tokenization_spaces=False,
    )
