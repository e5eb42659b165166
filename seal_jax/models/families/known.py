"""Which fields of a `config.json` change nothing here, and which would change the computation and are refused.

Every other field that no reader asked for is named in a warning: transformers does not use it for these families
either, but whoever wrote it may have meant something.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from seal_jax.models.families.fields import Fields

# The only values under which this package computes the same, for families whose reader does not read the field.
ACCEPTED: Mapping[str, tuple[Any, ...]] = {
    "quantization_config": (None,),
    "num_experts": (None, 0),
    "num_local_experts": (None, 0),
    "per_layer_config": (None, {}),
    "pruned_heads": (None, {}),
    "partial_rotary_factor": (None, 1.0),
    "attn_logit_softcapping": (None,),
    "final_logit_softcapping": (None,),
    "use_bidirectional_attention": (None, False),
    "is_encoder_decoder": (None, False),
    "add_cross_attention": (None, False),
    "tie_encoder_decoder": (None, False),
}

_ABOUT = """architectures model_type _name_or_path name_or_path transformers_version dtype torch_dtype use_bfloat16
    auto_map torchscript tokenizer_class processor_class task_specific_params finetuning_task problem_type id2label
    label2id num_labels language prefix license base_model_name_or_path unsloth_version unsloth_fixed"""
_TRAINING = """initializer_range initializer_factor init_std attention_dropout hidden_dropout classifier_dropout
    resid_dropout resid_pdrop embed_dropout embd_pdrop attn_pdrop dropout gradient_checkpointing
    output_router_logits router_aux_loss_coef z_loss vocab_pad_multiple"""
_RUNNING = """use_cache cache_implementation return_dict output_attentions output_hidden_states
    chunk_size_feed_forward pretraining_tp attn_implementation _attn_implementation _attn_implementation_autoset
    experts_implementation is_decoder cross_attention_hidden_size decoder_start_token_id sep_token_id
    tf_legacy_loss _flash_attn_2_enabled use_flash_attention_2 use_sdpa"""
_GENERATION = """assistant_confidence_threshold assistant_lookbehind bad_words_ids begin_suppress_tokens
    diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size encoder_repetition_penalty epsilon_cutoff
    eta_cutoff exponential_decay_length_penalty forced_bos_token_id forced_eos_token_id length_penalty max_length
    min_length no_repeat_ngram_size num_assistant_tokens num_assistant_tokens_schedule num_beam_groups num_beams
    num_return_sequences output_scores remove_invalid_values repetition_penalty return_dict_in_generate
    suppress_tokens target_lookbehind temperature top_k top_p typical_p max_new_tokens"""
HARMLESS = frozenset(" ".join([_ABOUT, _TRAINING, _RUNNING, _GENERATION]).split())


def check_unread(fields: Fields, harmless: frozenset[str] = frozenset()) -> None:
    """Look at what the readers left: refuse what changes the computation, name the rest in a warning.

    harmless: further fields of a family that change nothing. Raises CheckpointError naming the field.
    """
    for name, accepted in ACCEPTED.items():
        if name not in fields.read and fields.raw(name) not in accepted:
            raise fields.refuse(name, " or ".join("absent" if a is None else repr(a) for a in accepted))
    unknown = [name for name in fields.unread() if name not in HARMLESS and name not in harmless]
    if unknown:
        warnings.warn(f"{fields.where}: not known to this model family: {', '.join(unknown)}: ignored", stacklevel=2)
