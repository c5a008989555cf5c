"""litellm: three of its ways to such a server, streams, and the errors it reads from our words."""

import os
import sys

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm

base, model = sys.argv[1:]
ask = {"messages": [{"role": "user", "content": "Bonjour"}], "max_tokens": 12, "num_retries": 0}
v1 = {"api_base": f"{base}/v1", "api_key": "none"}
ways = [
    {**v1, "model": f"openai/{model}"},
    {**v1, "model": f"hosted_vllm/{model}"},
    {**v1, "model": f"text-completion-openai/{model}"},
    {"api_base": base, "api_key": "none", "model": f"anthropic/{model}"},
]
for way in ways:
    whole = litellm.completion(**way, **ask)
    assert whole.choices[0].message.content, way
    assert whole.usage.completion_tokens == 12, way

    stream = litellm.completion(**way, **ask, stream=True, stream_options={"include_usage": True})
    pieces = list(stream)
    assert "".join(p.choices[0].delta.content or "" for p in pieces if p.choices), way
    assert "length" in {p.choices[0].finish_reason for p in pieces if p.choices}, way

chat = {**ask, **ways[0]}
try:
    litellm.completion(**{**chat, "max_tokens": 9999})
except litellm.ContextWindowExceededError as error:
    assert "maximum context length is" in str(error)
else:
    raise SystemExit("a context overflow was not recognised")
try:
    litellm.completion(**{**chat, "model": "openai/nobody"})
except litellm.NotFoundError as error:
    assert "nobody" in str(error)
else:
    raise SystemExit("an unknown model was not recognised")
