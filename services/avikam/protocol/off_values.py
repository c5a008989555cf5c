"""Values that switch a sampling field off, or nearly, as other servers spell them.

top_k  -1      every token is kept (vLLM, SGLang)         0
top_p  0       only the likeliest token is kept (OpenAI)  the smallest share above 0
seed   -1      a drawn seed (vLLM, llama.cpp)             absent
seed   < -1    a seed like any other (OpenAI)             the number that has the same low bits
stop   ""      stops nowhere                              left out
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from avikam.protocol.limits import LIMITS

_KEEPS_ONE = 1e-9


def in_our_spelling(given: Mapping[str, Any]) -> dict[str, Any]:
    """The given sampling fields with such values replaced by our own; all others as they are."""
    ours = dict(given)
    if ours.get("top_k") == -1:
        ours["top_k"] = 0
    if ours.get("top_p") == 0:
        ours["top_p"] = _KEEPS_ONE
    if "stop" in ours:
        ours["stop"] = tuple(text for text in ours["stop"] if text)
    seed = ours.get("seed")
    if seed == -1:
        del ours["seed"]
    elif seed is not None and -LIMITS.seed - 1 <= seed < 0:
        ours["seed"] = seed & LIMITS.seed
    return ours
