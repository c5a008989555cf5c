"""Fields that other servers know and that change no answer here: they are taken and not looked at.

For the page of the docs and the tests; the routes themselves let every unknown field pass.
"""

from __future__ import annotations

from collections.abc import Mapping

_WHY: Mapping[str, tuple[str, ...]] = {
    "who asks, for what, and who pays": (
        *("access_programs", "billing_policy", "custom_labels", "diagnostics", "extra_key"),
        *("fallback_credit_token", "metadata", "rid", "request_id", "safety_identifier"),
        *("service_tier", "session_id", "user", "user_profile_id", "workspace_id"),
    ),
    "where, when and how fast it is computed; keys and headers say that": (
        *("bootstrap_host", "bootstrap_port", "bootstrap_room", "data_parallel_rank"),
        *("disagg_prefill_dp_rank", "ec_transfer_params", "id_slot", "inference_geo"),
        *("keep_alive", "kv_transfer_params", "priority", "routed_dp_rank", "speed"),
        *("background_options",),
    ),
    "the cache of prompts, which works without being told": (
        *("cache_control", "cache_prompt", "cache_salt", "n_cache_reuse", "prompt_cache_key"),
        *("prompt_cache_options", "prompt_cache_retention"),
    ),
    "nothing is stored": ("store",),
    "a guess that makes answers faster, not different": ("ngram_corpus_id", "prediction"),
    "how a model is loaded": (
        *("embedding_only", "f16_kv", "logits_all", "low_vram", "main_gpu", "num_batch"),
        *("num_ctx", "num_gpu", "num_thread", "numa", "use_mlock", "use_mmap", "vocab_only"),
    ),
    "a prompt that does not fit is refused, never cut": (
        *("n_discard", "n_keep", "num_keep", "truncation_side"),
    ),
    "another model that answers after a refusal; this one does not refuse": ("fallbacks",),
    "how thoughts are shown; there are none": (
        *("include_reasoning", "reasoning_format", "reasoning_in_content"),
        *("separate_reasoning", "stream_reasoning"),
    ),
    "how pictures and sounds are read; parts of a message that are none are refused": (
        *("images_config", "max_dynamic_patch", "media_io_kwargs", "min_dynamic_patch"),
        *("return_mm_kwargs", "use_audio_in_video"),
    ),
    "no control token is ever generated": ("skip_special_tokens", "spaces_between_special_tokens"),
    "figures about the work; `usage` and `timings` are always told": (
        *("return_cached_tokens_details", "return_meta_info", "return_progress"),
        *("return_token_offsets", "timings_per_token"),
    ),
    "how a stream is cut into events": ("sse_ping_interval", "stream_interval", "stream_options"),
    "goes with a field that is refused": (
        *("dry_allowed_length", "dry_base", "dry_penalty_last_n", "dry_sequence_breakers"),
        *("dynatemp_exponent", "max_tool_calls", "mirostat_eta", "mirostat_tau"),
        *("parallel_tool_calls", "parse_tool_calls", "penalize_newline", "adaptive_decay"),
        *("routed_experts_prompt_start", "routed_experts_start_len", "xtc_threshold"),
    ),
}

HARMLESS: Mapping[str, str] = {name: why for why, names in _WHY.items() for name in names}
