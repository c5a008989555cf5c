"""llama-index's OpenAILike: chat and completions, whole and streamed."""

import sys

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

base, model = sys.argv[1:]
options = {"model": model, "api_base": f"{base}/v1", "api_key": "none", "max_tokens": 12}
messages = [ChatMessage(role="user", content="Bonjour")]

chat = OpenAILike(**options, is_chat_model=True, max_retries=0)
whole = chat.chat(messages)
assert whole.message.content
assert whole.raw.usage.completion_tokens == 12
assert "".join(piece.delta or "" for piece in chat.stream_chat(messages))
assert chat.complete("Bonjour").text

plain = OpenAILike(**options, is_chat_model=False, max_retries=0)
assert plain.complete("Bonjour").text
assert "".join(piece.delta or "" for piece in plain.stream_complete("Bonjour"))
