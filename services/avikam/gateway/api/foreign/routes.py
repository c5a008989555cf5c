"""What each open route refuses: the common table, and the fields that are another route's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from avikam.gateway.api.foreign.refusal import Table, refuse
from avikam.gateway.api.foreign.refused import REFUSED

_TEXT_FORMAT = ({"type": "text"},)
# Of OpenAI's routes, except the one that has them.
_OPENAI: Table = {
    "audio": (),
    "background": (False,),
    "context_management": ([], {}, {"edits": []}),
    "conversation": (),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "instructions": ("",),
    "max_output_tokens": (),
    "mcp_servers": ([],),
    "modalities": (["text"],),
    "previous_response_id": (),
    "reasoning": ({}, {"effort": "none"}, {"enabled": False}),
    "reasoning_effort": ("none", "minimal"),
    "stop_sequences": ([],),
    "suffix": ("",),
    "system": ("", []),
    "text": ("", {}),
    "thinking": ({"type": "disabled"}, False),
    "tool_choice": ("none", "auto", {"type": "none"}, {"type": "auto"}),
    "tools": ([],),
    "truncation": ("disabled",),
    "verbosity": ("medium",),
    "web_search_options": (),
}


def _without(table: Table, *names: str) -> Table:
    return {name: values for name, values in table.items() if name not in names}


CHAT: Table = {
    **REFUSED,
    **_OPENAI,
    "add_generation_prompt": (True,),
    "add_special_tokens": (False,),
    "best_of": (1,),
    "echo": (False,),
    "input": (),
    "prompt": (),
}

COMPLETIONS: Table = {
    **REFUSED,
    **_OPENAI,
    "add_special_tokens": (True,),
    "input": (),
    "messages": ([],),
    # On this route the prompt is always taken as it is.
    "raw": (True,),
    "top_logprobs": (0,),
}

RESPONSES: Table = {
    **_without({**REFUSED, **_OPENAI}, "instructions", "max_output_tokens", "text"),
    "best_of": (1,),
    "compaction": (),
    "echo": (False,),
    "include": ([], ["reasoning.encrypted_content"]),
    "logprobs": (False, 0),
    "max_completion_tokens": (),
    "messages": (),
    "n": (1,),
    "prompt": (),
    "response_format": _TEXT_FORMAT,
    "top_logprobs": (0,),
}
RESPONSES_TEXT: Table = {"verbosity": ("medium",)}

MESSAGES: Table = {
    **_without({**REFUSED, **_OPENAI}, "stop_sequences", "system"),
    "best_of": (1,),
    "compaction": (),
    "container": (),
    "echo": (False,),
    "input": (),
    "logprobs": (False, 0),
    "max_completion_tokens": (),
    "n": (1,),
    "output_config": ({},),
    "prompt": (),
    "response_format": _TEXT_FORMAT,
    "top_logprobs": (0,),
}

# Tools add nothing to a prompt of this model, so a count with them is the count without.
COUNTED: Table = _without(MESSAGES, "tool_choice", "tools")

# Of TGI's ``parameters``. What nobody knows is refused there too.
TGI_PARAMETERS: Table = {
    "bad_words_ids": ([],),
    "best_of": (1,),
    "max_time": (),
    "no_repeat_ngram_size": (0,),
    "num_beams": (1,),
    "num_return_sequences": (1,),
    "truncate": (),
    "typical_p": (1,),
    "watermark": (False,),
}

_TOOLS = (("tool_choice", "tools"), ("function_call", "functions"))


def refuse_on(data: Mapping[str, Any], table: Table) -> None:
    """:func:`refuse` for a whole body; tools that may not be called change nothing."""
    unused = {tools for choice, tools in _TOOLS if _is_none(data.get(choice))}
    refuse({name: value for name, value in data.items() if name not in unused}, table)


def _is_none(choice: Any) -> bool:
    """Whether a choice of tools is none of them, as OpenAI or as Anthropic says it."""
    return choice == "none" or (isinstance(choice, dict) and choice.get("type") == "none")
