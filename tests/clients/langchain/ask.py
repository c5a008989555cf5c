"""langchain-openai: chat, stream, batch, completions."""

import sys

from langchain_openai import ChatOpenAI, OpenAI

base, model = sys.argv[1:]
options = {"base_url": f"{base}/v1", "api_key": "none", "model": model, "max_retries": 0}

chat = ChatOpenAI(**options, max_completion_tokens=12, stream_usage=True)
reply = chat.invoke([("system", "Sois bref."), ("user", "Bonjour")])
assert reply.text
assert reply.usage_metadata["output_tokens"] == 12

whole = None
for piece in chat.stream("Bonjour"):
    whole = piece if whole is None else whole + piece
assert whole.text
assert whole.usage_metadata["output_tokens"] == 12

assert len(chat.batch(["Bonjour", "Bonsoir"])) == 2
assert OpenAI(**options, max_tokens=12).invoke("Bonjour")
