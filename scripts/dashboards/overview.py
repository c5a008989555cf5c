"""What users see."""

from __future__ import annotations

from dashboards.panel import Panel
from dashboards.queries import ERRORS_1H, GATEWAY, REQUESTS, WORKER, quantiles, rate, share_below

OVERVIEW = (
    Panel(
        "Availability, 1 h",
        "Share of requests without a server error; the objective is 99.95 %.",
        "percentunit",
        {"availability": f"1 - {ERRORS_1H}"},
        "stat",
    ),
    Panel(
        "Error budget left, 30 d",
        "What is left of the 0.05 % of requests that may fail in 30 days.",
        "percentunit",
        {"left": f"1 - avg_over_time({ERRORS_1H}[30d]) / 0.0005"},
        "stat",
    ),
    Panel(
        "First token within 100 ms",
        "Share of requests whose first token came within 100 ms of admission.",
        "percentunit",
        {"share": share_below("avikam_gateway_time_to_first_token_seconds", GATEWAY, "0.1")},
        "stat",
    ),
    Panel(
        "Requests",
        "By HTTP status; 499 is a client that left.",
        "reqps",
        {"{{status}}": rate("avikam_gateway_requests_total", REQUESTS, "status")},
    ),
    Panel(
        "Time to first token",
        "From admission to the first token, as clients see it.",
        "s",
        quantiles("avikam_gateway_time_to_first_token_seconds", GATEWAY, 0.5, 0.95, 0.99),
    ),
    Panel(
        "Time between tokens",
        "Averaged over each frame, as clients see it.",
        "s",
        quantiles("avikam_gateway_inter_token_seconds", GATEWAY, 0.5, 0.95, 0.99),
    ),
    Panel(
        "Request duration",
        "From the headers to the end of the reply. Depends on the tokens asked for.",
        "s",
        quantiles("avikam_gateway_request_duration_seconds", REQUESTS, 0.5, 0.95, 0.99),
    ),
    Panel(
        "Tokens",
        "Prompt tokens of finished requests, and tokens received from workers.",
        "short",
        {
            "prompt": rate("avikam_gateway_prompt_tokens_total", GATEWAY),
            "generated": rate("avikam_gateway_generated_tokens_total", GATEWAY),
        },
    ),
    Panel(
        "In the gateways",
        "Requests being served, sequences on workers, sequences that wait for one.",
        "short",
        {
            "requests": f"sum(avikam_gateway_requests_in_flight{{{GATEWAY}}})",
            "running": f"sum(avikam_gateway_sequences_running{{{GATEWAY}}})",
            "waiting": f"sum(avikam_gateway_queue_depth{{{GATEWAY}}})",
        },
    ),
    Panel(
        "Refused",
        "Requests answered with 429 or 503, and requests shed before they were parsed.",
        "reqps",
        {
            "{{status}}": rate(
                "avikam_gateway_requests_total", f'{REQUESTS},status=~"429|503"', "status"
            ),
            "shed: {{reason}}": rate("avikam_gateway_shed_total", GATEWAY, "reason"),
        },
    ),
    Panel(
        "Recovery",
        "Failed attempts, and what became of them: another worker, or an error.",
        "ops",
        {
            "attempt failed: {{kind}}": rate(
                "avikam_gateway_attempts_failed_total", GATEWAY, "kind"
            ),
            "retry paid by the budget": rate("avikam_gateway_charged_retries_total", GATEWAY),
            "retry {{outcome}}": rate("avikam_gateway_retries_total", GATEWAY, "outcome"),
            "resume {{outcome}}": rate(
                "avikam_gateway_midstream_resumes_total", GATEWAY, "outcome"
            ),
        },
    ),
    Panel(
        "Breakers",
        "0 closed, 1 open, 2 half open; transitions per minute; retries left in the budget.",
        "short",
        {
            "{{breaker}}": f"max by (breaker) (avikam_gateway_breaker_state{{{GATEWAY}}})",
            "{{breaker}} to {{to}} per minute": "60 * "
            + rate("avikam_gateway_breaker_transitions_total", GATEWAY, "breaker, to"),
            "retry budget": f"min(avikam_gateway_retry_budget_remaining{{{GATEWAY}}})",
        },
    ),
    Panel(
        "Workers",
        "Listed by discovery, ready to take sequences, and passed over because they answer late.",
        "short",
        {
            "known": f"max(avikam_gateway_workers_known{{{GATEWAY}}})",
            "ready": f"max(avikam_gateway_workers_ready{{{GATEWAY}}})",
            "late": f"max(avikam_gateway_workers_late{{{GATEWAY}}})",
        },
    ),
    Panel(
        "Gateway delay",
        "How late the gateways' own timers fire; what every request waits before anything is done.",
        "s",
        quantiles("avikam_gateway_loop_lag_seconds", GATEWAY, 0.5, 0.9, 0.99),
    ),
    Panel(
        "Without Redis",
        "Gateways that have a Redis and leave it out because it fails: limits are counted by each.",
        "short",
        {"gateways": f"sum(avikam_gateway_redis_degraded{{{GATEWAY}}})"},
    ),
    Panel(
        "Demand",
        "What autoscaling reads: held, waiting and running, against the slots there are.",
        "short",
        {
            "demand {{pool}}": f"avikam:worker_demand:sum{{{WORKER}}}",
            "slots {{pool}}": f"sum by (pool) (avikam_worker_slots{{{WORKER}}})",
        },
    ),
)
