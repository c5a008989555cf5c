"""Write the two Grafana dashboards; with --check, fail when they have drifted from this file.

A panel is a title, what it tells, a unit and its queries: the JSON around them is always the same.
`$namespace` and `$pool` narrow every query.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DASHBOARDS = Path(__file__).resolve().parents[1] / "helm" / "avikam" / "monitoring" / "dashboards"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT, COLUMNS = 8, 8, 3


@dataclass(frozen=True)
class Panel:
    """One panel; ``queries`` maps legend to PromQL."""

    title: str
    description: str
    unit: str
    queries: dict[str, str]
    kind: str = "timeseries"

    def model(self, index: int) -> dict[str, Any]:
        """Grafana's JSON."""
        row, column = divmod(index, COLUMNS)
        return {
            "id": index + 1,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
            "fieldConfig": {"defaults": {"unit": self.unit, "min": 0}, "overrides": []},
            "options": _OPTIONS[self.kind],
            "targets": [
                {
                    "refId": chr(ord("A") + number),
                    "datasource": DATASOURCE,
                    "expr": query,
                    "legendFormat": legend,
                    "exemplar": "_bucket" in query,
                }
                for number, (legend, query) in enumerate(self.queries.items())
            ],
        }


_OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"},
}

GATEWAY = 'namespace=~"$namespace"'
# Probes are no requests.
REQUESTS = f'{GATEWAY},route!~"/livez|/readyz|/health|/metrics"'
WORKER = 'namespace=~"$namespace",pool=~"$pool"'
ERRORS_1H = f"avikam:request_errors:ratio_rate1h{{{GATEWAY}}}"


def rate(metric: str, labels: str, by: str = "") -> str:
    """Sum of a counter's rate."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({metric}{{{labels}}}[$__rate_interval]))"


def quantiles(metric: str, labels: str, *levels: float) -> dict[str, str]:
    """Queries for quantiles of a histogram, by legend."""
    buckets = rate(f"{metric}_bucket", labels, "le")
    return {f"p{level * 100:g}": f"histogram_quantile({level:g}, {buckets})" for level in levels}


def share_below(metric: str, labels: str, bound: str) -> str:
    """Share of observations up to a bucket's boundary: a ratio of two counters."""
    below = rate(f"{metric}_bucket", f'{labels},le="{bound}"')
    return f"{below} / {rate(f'{metric}_count', labels)}"


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
        "Listed by discovery, and ready to take sequences.",
        "short",
        {
            "known": f"max(avikam_gateway_workers_known{{{GATEWAY}}})",
            "ready": f"max(avikam_gateway_workers_ready{{{GATEWAY}}})",
        },
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


def dashboard(uid: str, title: str, description: str, panels: tuple[Panel, ...]) -> str:
    """Grafana's JSON of a dashboard."""
    model = {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["avikam"],
        "editable": False,
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "templating": {"list": _variables()},
        "panels": [panel.model(index) for index, panel in enumerate(panels)],
    }
    return json.dumps(model, indent=2) + "\n"


def _variables() -> list[dict[str, Any]]:
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        _variable("namespace", "label_values(avikam_gateway_workers_known, namespace)"),
        _variable("pool", 'label_values(avikam_worker_slots{namespace=~"$namespace"}, pool)'),
    ]


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        # Matches an absent label too: a scrape outside Kubernetes has no namespace.
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def dashboards() -> dict[str, str]:
    """File name and content of each dashboard."""
    return {
        "avikam-overview.json": dashboard(
            "avikam-overview", "Avikam: overview", "What users see.", OVERVIEW
        ),
        "avikam-engine.json": dashboard(
            "avikam-engine", "Avikam: engine", "What workers do.", ENGINE
        ),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, report drift")
    check = parser.parse_args().check
    fresh = dashboards()
    present = {path.name: path.read_text() for path in DASHBOARDS.glob("*.json")}
    drifted = [name for name, text in fresh.items() if present.get(name) != text]
    for name in drifted:
        if check:
            print(f"{DASHBOARDS.name}/{name} has drifted: run `make chart`")
        else:
            DASHBOARDS.mkdir(exist_ok=True)
            (DASHBOARDS / name).write_text(fresh[name])
    return 1 if check and drifted else 0


if __name__ == "__main__":
    sys.exit(main())
