"""TGI's own client: its list at /, its streams, its chat, its errors."""

import sys

from text_generation import Client
from text_generation.types import Message

base, _ = sys.argv[1:]
client = Client(base, timeout=60)

whole = client.generate("Bonjour", max_new_tokens=12, decoder_input_details=True)
assert whole.generated_text
assert whole.details.generated_tokens == 12
assert len(whole.details.tokens) == 12
assert whole.details.prefill

pieces = list(client.generate_stream("Bonjour", max_new_tokens=12))
assert [piece.token.text for piece in pieces]
assert pieces[-1].generated_text == "".join(piece.token.text for piece in pieces)
assert pieces[-1].details.finish_reason == "length"

messages = [Message(role="user", content="Bonjour")]
assert client.chat(messages, max_tokens=12).choices[0].message.content
# Its streamed chat is left out: it wants tool_calls in every delta, which OpenAI's do not have.
