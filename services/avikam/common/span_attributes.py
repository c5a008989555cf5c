"""Names of what spans say.

``gen_ai.*`` are OpenTelemetry's conventions for generative AI; ``gen_ai.latency.*``, the id, and
the two counts of a worker are vLLM's (vllm/tracing), so that what was made for its traces reads
ours. ``avikam.*`` are our own.
"""

from __future__ import annotations

ERROR_TYPE = "error.type"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
HTTP_METHOD = "http.request.method"
HTTP_ROUTE = "http.route"
HTTP_STATUS = "http.response.status_code"
RPC_SYSTEM = "rpc.system.name"
RPC_METHOD = "rpc.method"
RPC_STATUS = "rpc.response.status_code"

PROVIDER = "gen_ai.provider.name"
OPERATION = "gen_ai.operation.name"
REQUEST_ID = "gen_ai.request.id"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
REQUEST_STREAM = "gen_ai.request.stream"
CHOICE_COUNT = "gen_ai.request.choice.count"
FINISH_REASONS = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHED_TOKENS = "gen_ai.usage.cache_read.input_tokens"
# Of a request's sampling, what an operator looks for; strings of it may quote the prompt.
REQUEST_SAMPLING = {
    name: f"gen_ai.request.{name}" for name in ("max_tokens", "temperature", "top_p", "top_k")
}

PROMPT_TOKENS = "gen_ai.usage.prompt_tokens"
COMPLETION_TOKENS = "gen_ai.usage.completion_tokens"
TIME_IN_QUEUE = "gen_ai.latency.time_in_queue"
TIME_TO_FIRST_TOKEN = "gen_ai.latency.time_to_first_token"  # noqa: S105 - no secret
TIME_IN_PREFILL = "gen_ai.latency.time_in_model_prefill"
TIME_IN_DECODE = "gen_ai.latency.time_in_model_decode"
TIME_IN_INFERENCE = "gen_ai.latency.time_in_model_inference"
END_TO_END = "gen_ai.latency.e2e"

# A hash: equal for the requests of one tenant, and not its name.
TENANT = "avikam.tenant"
PROMPTS = "avikam.prompts"
OUTCOME = "avikam.outcome"
ATTEMPT = "avikam.attempt.number"
ATTEMPT_KIND = "avikam.attempt.kind"
RESUMED_TOKENS = "avikam.attempt.resumed_tokens"
