"""Fields that would change an answer and that no open route has, whoever knows them.

The values after a name ask for nothing, besides null.
"""

from __future__ import annotations

from avikam.gateway.api.foreign.refusal import Table

# What is chosen among, and how: other samplers than ours.
_SAMPLERS: Table = {
    "adaptive_target": (-1,),
    "allowed_token_ids": ([],),
    "bad_words": ([],),
    "bad_words_ids": ([],),
    "beam_width": (1,),
    "custom_logit_processor": (),
    "custom_params": ({},),
    "diversity_penalty": (0,),
    "do_sample": (True,),
    "dry_multiplier": (0,),
    "dynatemp_range": (0,),
    "early_stopping": (False,),
    "encoder_repetition_penalty": (1,),
    "epsilon_cutoff": (0,),
    "eta_cutoff": (0,),
    "k": (0,),
    "length_penalty": (1,),
    "logits_processors": ([],),
    "min_keep": (0,),
    "mirostat": (0,),
    "no_repeat_ngram_size": (0,),
    "num_beam_groups": (1,),
    "num_beams": (1,),
    "p": (1,),
    "penalty_alpha": (0,),
    "random_seed": (),
    "repeat_last_n": (64, 0, -1),
    "repeat_penalty": (1,),
    "samplers": (),
    "smoothing_factor": (0,),
    "temperature_last": (False,),
    "tfs_z": (1,),
    "top_a": (0,),
    "top_n_sigma": (-1, 0),
    "typical_p": (1,),
    "use_beam_search": (False,),
    "vllm_xargs": ({},),
    "watermark": (False,),
    "watermarking": (False,),
    "xtc_probability": (0,),
}

# Where an answer ends.
_ENDS: Table = {
    "end_id": (),
    "include_stop_str_in_output": (False,),
    "max_length": (),
    "max_new_tokens": (),
    "max_time": (),
    "max_tokens_to_sample": (),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "n_indent": (0,),
    "n_predict": (-1,),
    "no_stop_trim": (False,),
    "num_predict": (),
    "repetition_detection": (),
    "stop_regex": ([],),
    "stop_sequence": ([],),
    "stop_strings": ([],),
    "stop_words": ([],),
    "t_max_predict_ms": (0, -1),
    "tokens_to_generate": (),
}

# What an answer must look like.
_FORMS: Table = {
    "ebnf": (),
    "format": ("",),
    "grammar": ("",),
    "guided_choice": (),
    "guided_grammar": (),
    "guided_json": (),
    "guided_regex": (),
    "json_schema": (),
    "output_format": (),
    "regex": (),
    "structural_tag": (),
    "structured_outputs": (),
}

# What the model reads besides, or instead.
_READ: Table = {
    "chat_template": (),
    "chat_template_kwargs": (
        {},
        {"enable_thinking": False},
        {"thinking": False},
        {"enable_thinking": False, "thinking": False},
    ),
    "context": ([],),
    "continue_final_message": (False,),
    "conversation_id": (),
    "documents": ([],),
    "guideline": ("",),
    "image": (),
    "images": ([],),
    "input_extra": ([],),
    "input_ids": (),
    "input_prefix": ("",),
    "input_suffix": ("",),
    "inputs": (),
    "language": ("",),
    "mm_processor_kwargs": ({},),
    "preamble": ("",),
    "prompt_embeds": (),
    "raw": (False,),
    "safe_prompt": (False,),
    "session_params": ({},),
    "shift": (False,),
    "system_prompt": ("",),
    "task": (),
    "template": ("",),
    "thread": (),
    "tool_prompt": ("",),
    "truncate": (False,),
    "truncate_prompt_tokens": (),
}

# Thinking before the answer: the model does not.
_THINKING: Table = {
    "enable_thinking": (False,),
    "prompt_mode": (),
    "reasoning_budget": (0, -1),
    "think": (False,),
    "thinking_budget": (0, -1),
    "thinking_forced_open": (False,),
    "thinking_token_budget": (-1, 0),
}

# Which weights answer.
_WEIGHTS: Table = {
    "adapter": ("",),
    "adapter_id": ("",),
    "lora": ([],),
    "lora_path": (),
    "lora_request": (),
}

# What a reply holds besides the text, or how many answers there are.
_REPLIES: Table = {
    "logprob_token_ids": ([],),
    "moderation": (),
    "n_cmpl": (1,),
    "n_probs": (0,),
    "num_return_sequences": (1,),
    "options": ({},),
    "post_sampling_probs": (False,),
    "prompt_logprobs": (),
    "response_fields": ([],),
    "return_full_text": (False,),
    "return_hidden_states": (False,),
    "return_prompt_text": (False,),
    "return_prompt_token_ids": (False,),
    "return_routed_experts": (False,),
    "return_token_ids": (False,),
    "return_tokens": (False,),
    "return_tokens_as_token_ids": (False,),
    "sampling_params": ({},),
    "top_n_tokens": (0,),
    # Pictures.
    "height": (0,),
    "steps": (0,),
    "width": (0,),
}

REFUSED: Table = {
    **_SAMPLERS,
    **_ENDS,
    **_FORMS,
    **_READ,
    **_THINKING,
    **_WEIGHTS,
    **_REPLIES,
}
