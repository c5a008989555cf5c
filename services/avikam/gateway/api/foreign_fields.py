"""Fields that other servers know, that would change an answer, and that are not there.

The compatible routes let unknown fields pass, for clients send many; but a client that asks for
one of these and is not heard would take the answer for what it asked for.
"""

from __future__ import annotations

from typing import Any

# The values after a name ask for nothing; a null never does.
FOREIGN: dict[str, tuple[Any, ...]] = {
    "allowed_token_ids": ([],),
    "bad_words": ([],),
    "chat_template": (),
    "chat_template_kwargs": (),
    "continue_final_message": (False,),
    "documents": ([],),
    "dry_multiplier": (0, 0.0),
    "ebnf": (),
    "format": (),
    "grammar": (),
    "guided_choice": (),
    "guided_grammar": (),
    "guided_json": (),
    "guided_regex": (),
    "include_stop_str_in_output": (False,),
    "json_schema": (),
    "length_penalty": (1.0, 1),
    "logits_processors": ([],),
    "logprob_token_ids": ([],),
    "lora_path": (),
    "max_new_tokens": (),
    "mirostat": (0,),
    "mm_processor_kwargs": ({},),
    "n_predict": (),
    "num_predict": (),
    "options": ({},),
    "prompt_embeds": (),
    "prompt_logprobs": (),
    "regex": (),
    "repeat_penalty": (1, 1.0),
    "return_token_ids": (False,),
    "return_tokens_as_token_ids": (False,),
    "sampling_params": ({},),
    "skip_special_tokens": (True,),
    "stop_regex": ([],),
    "structural_tag": (),
    "structured_outputs": (),
    "truncate_prompt_tokens": (),
    "typical_p": (1.0, 1),
    "use_beam_search": (False,),
    "vllm_xargs": ({},),
    "xtc_probability": (0, 0.0),
}
