"""What a client asks for: one type behind every door (REST, protobuf bodies, gRPC)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from avikam.protocol.errors import ApiError, invalid
from avikam.protocol.limits import LIMITS, Limits
from avikam.protocol.validation import shown
from avikam.protocol.wire import checked_sampling, given_sampling
from avikam.v1 import generation_pb2 as pb
from avikam.v1 import inference_pb2

LANGUAGES = ("", "fr", "en")
_FORMS = "text, tokens or chat"


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """Prompts and how to continue each of them, ``n`` times.

    ``sampling`` holds what the client gave; absent fields are the model's to choose. Where it has
    no ``max_tokens``, ``default_max_tokens`` is the route's own default, cut to what the context
    has left; None is the model's. An empty ``model`` means the server's own. ``names`` says how the
    client calls the fields that an engine's errors name, where that is otherwise.
    """

    prompts: Sequence[pb.Prompt]
    sampling: pb.SamplingParams
    model: str = ""
    n: int = 1
    language: str = ""
    default_max_tokens: int | None = None
    names: Mapping[str, str] = field(default_factory=dict)


def from_message(message: inference_pb2.GenerateRequest) -> GenerationRequest:
    """A protobuf request, checked."""
    check_known(message)
    check_known(message.sampling)
    request = GenerationRequest(
        prompts=message.prompts,
        sampling=checked_sampling(given_sampling(message.sampling)),
        model=message.model,
        n=message.n if message.HasField("n") else 1,
        language=message.language,
    )
    check_request(request)
    return request


def check_known(message: Message) -> None:
    """Raise a 400 for fields that this version does not have: they must not be lost in silence.

    So a message of another type is found too, where its bytes happen to parse.
    """
    unknown = UnknownFieldSet(message)
    if len(unknown):
        number = unknown[0].field_number
        raise invalid(
            f"{message.DESCRIPTOR.name} has no field {number}; send another message, or ask a "
            "newer gateway",
            None,
            "unknown_parameter",
        )


def check_request(request: GenerationRequest, limits: Limits = LIMITS) -> None:
    """Raise the first problem outside the sampling fields as a 400."""
    if not request.prompts:
        raise invalid("prompt is empty; send at least one", "prompt")
    if len(request.prompts) > limits.prompts:
        raise invalid(f"{len(request.prompts)} prompts, at most {limits.prompts}", "prompt")
    if not 1 <= request.n <= limits.choices:
        raise invalid(f"n is {shown(request.n)}, must be between 1 and {limits.choices}", "n")
    if len(request.model) > limits.model_name_chars:
        raise invalid(
            f"model has {len(request.model)} characters, at most {limits.model_name_chars}", "model"
        )
    if request.language not in LANGUAGES:
        raise invalid(f"language is {request.language[:16]!r}, must be fr or en", "language")
    for prompt in request.prompts:
        check_prompt(prompt, limits)


def check_prompt(prompt: pb.Prompt, limits: Limits = LIMITS) -> None:
    """Raise what is wrong with one prompt, as far as it shows without a tokenizer."""
    form = prompt.WhichOneof("form")
    if form is None:
        raise invalid(f"a prompt has no form; set {_FORMS}", "prompt")
    if form == "chat":
        for problem in _chat_problems(prompt.chat.messages, limits):
            raise problem
    elif not (prompt.text if form == "text" else prompt.tokens.ids):
        raise invalid("a prompt is empty; send at least one character or token", "prompt")


def _chat_problems(messages: Sequence[pb.ChatMessage], limits: Limits) -> Sequence[ApiError]:
    if not messages:
        return [invalid("messages is empty; send at least one", "messages")]
    if len(messages) > limits.messages:
        return [invalid(f"{len(messages)} messages, at most {limits.messages}", "messages")]
    known = (pb.ROLE_SYSTEM, pb.ROLE_USER, pb.ROLE_ASSISTANT)
    return [
        invalid(f"role {message.role} is unknown", f"messages[{index}].role")
        for index, message in enumerate(messages)
        if message.role not in known
    ]
