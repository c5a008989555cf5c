"""The limits table: every bound on what a client may send, in one place."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds checked by the shared validator and the gateway's guard."""

    json_body_bytes: int = MIB
    protobuf_body_bytes: int = 64 * MIB
    # gRPC frames: the protobuf limit plus room for the envelope.
    grpc_message_bytes: int = 66 * MIB
    # What a worker takes in one message; the longest prompt, in the longest characters, fits.
    worker_message_bytes: int = 16 * MIB
    prompt_chars: int = 2 * MIB
    # What a client's gRPC message may have: a larger batch goes over REST, where it is counted as
    # it comes.
    grpc_request_bytes: int = 8 * MIB
    # A response above this is protobuf when the client accepts it.
    json_response_bytes: int = MIB
    # What the logprobs of a whole answer may take in memory.
    answer_bytes: int = 64 * MIB
    # The whole head of a request: its request line and headers.
    header_bytes: int = 32 * 1024
    header_count: int = 100
    # What may stand beside the bytes of a chunked body, all together.
    chunk_extension_bytes: int = 16 * 1024
    trailer_bytes: int = 8 * 1024
    # Bytes that clients sent before their turn, of all connections of a listener.
    early_bytes: int = 32 * MIB
    prompts: int = 4096
    messages: int = 1024
    choices: int = 8
    max_tokens: int = 1_000_000
    logprobs: int = 20
    stop_strings: int = 64
    stop_string_chars: int = 256
    stop_token_ids: int = 64
    logit_bias: int = 300
    grammar_chars: int = 65_536
    # No honest text needs more characters than this per token; what has more is refused unread.
    token_chars: int = 64
    # Text that /tokenize reads, ids that /detokenize reads.
    tokenize_chars: int = MIB
    model_name_chars: int = 128
    seed: int = 2**63 - 1
    token_id: int = 2**31 - 1


LIMITS = Limits()
