"""What workers do."""

from __future__ import annotations

from dashboards.panel import Panel
from dashboards.queries import WORKER, quantiles, rate

ENGINE = (
    Panel(
        "Sequences",
        "Running and waiting, per worker.",
        "short",
        {
            "running {{instance}}": f"vllm:num_requests_running{{{WORKER}}}",
            "waiting {{instance}}": f"vllm:num_requests_waiting{{{WORKER}}}",
        },
    ),
    Panel(
        "Slots in use",
        "A running sequence needs exactly one slot.",
        "percentunit",
        {
            "{{instance}}": f"vllm:kv_cache_usage_perc{{{WORKER}}}",
            "of the queue, {{instance}}": f"avikam_worker_queue_depth{{{WORKER}}}"
            f" / avikam_worker_queue_limit{{{WORKER}}}",
        },
    ),
    Panel(
        "Tokens per second",
        "Generated, per worker.",
        "short",
        {"{{instance}}": rate("avikam_worker_tokens_total", WORKER, "instance")},
    ),
    Panel(
        "Steps per second",
        "Of the engine loop, per worker.",
        "short",
        {"{{instance}}": rate("avikam_worker_engine_steps_total", WORKER, "instance")},
    ),
    Panel(
        "Stalled",
        "Time since the last step while there is work: more than a few steps is a bad sign.",
        "s",
        {"{{instance}}": f"avikam_worker_stalled_seconds{{{WORKER}}}"},
    ),
    Panel(
        "State",
        "Workers by state.",
        "short",
        {"{{state}}": f"sum by (state) (avikam_worker_state{{{WORKER}}})"},
    ),
    Panel(
        "Time to first token, in the worker",
        "From the worker's admission to the first token on its way.",
        "s",
        quantiles("avikam_worker_time_to_first_token_seconds", WORKER, 0.5, 0.95, 0.99),
    ),
    Panel(
        "Time between tokens, in the worker",
        "Per sequence, averaged over each frame.",
        "s",
        quantiles("vllm:inter_token_latency_seconds", WORKER, 0.5, 0.95, 0.99),
    ),
    Panel(
        "Time in the queue",
        "Before a sequence gets its slot.",
        "s",
        quantiles("vllm:request_queue_time_seconds", WORKER, 0.5, 0.95, 0.99),
    ),
    Panel(
        "Prefill and decode",
        "Seconds of sequences spent in each, per second: where the time goes.",
        "short",
        {
            "prefill": rate("vllm:request_prefill_time_seconds_sum", WORKER),
            "decode": rate("vllm:request_decode_time_seconds_sum", WORKER),
        },
    ),
    Panel(
        "Sequence duration, in the worker",
        "From the worker's admission to the end.",
        "s",
        quantiles("avikam_worker_sequence_seconds", WORKER, 0.5, 0.95, 0.99),
    ),
    Panel(
        "Prefix cache",
        "Share of prompt tokens that were not computed again.",
        "percentunit",
        {
            "hit rate": rate("vllm:prefix_cache_hits_total", WORKER)
            + " / "
            + rate("vllm:prefix_cache_queries_total", WORKER)
        },
    ),
    Panel(
        "Lengths",
        "Tokens of prompts and answers.",
        "short",
        {
            f"{name} {level}": query
            for name, metric in (
                ("prompt", "vllm:request_prompt_tokens"),
                ("answer", "vllm:request_generation_tokens"),
            )
            for level, query in quantiles(metric, WORKER, 0.5, 0.95).items()
        },
    ),
    Panel(
        "Ends",
        "Sequences ended, by reason, and calls refused, by code.",
        "ops",
        {
            "{{reason}}": rate("avikam_worker_finishes_total", WORKER, "reason"),
            "refused: {{code}}": rate("avikam_worker_refusals_total", WORKER, "code"),
            "taken over": rate("avikam_worker_resumed_total", WORKER),
        },
    ),
    Panel(
        "Load",
        "Prompt + max_tokens / 2 over all sequences, per worker: what routing balances.",
        "short",
        {
            "{{instance}}": f"avikam_worker_load_tokens{{{WORKER}}}",
            "streams {{instance}}": f"avikam_worker_streams{{{WORKER}}}",
        },
    ),
)
