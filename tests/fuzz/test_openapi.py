"""Every operation of the OpenAPI document answers as the document says: schemathesis asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
import schemathesis
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import CheckFunction, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.fuzz.conftest import Target
from tests.fuzz.effort import effort

CHECKS = (
    status_code_conformance,
    content_type_conformance,
)


@pytest.fixture(scope="module")
def operations(target: Target) -> list[Any]:
    """All of the document."""
    document = target.http.get("/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=target.url)
    return [cast("Any", result).ok() for result in schema.get_all_operations()]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_operation_keeps_the_documents_word(
    target: Target, operations: list[Any], mode: GenerationMode
) -> None:
    asked = set()
    for operation in operations:
        try:
            cases = operation.as_strategy(generation_mode=mode)
            _ask(cases)
        except _NOTHING_WRONG_TO_SAY:
            continue  # an operation without parameters has no wrong form
        asked.add(operation.label)

    assert len(asked) >= 8
    target.fine()


def _ask(cases: st.SearchStrategy[Any]) -> None:
    @settings(effort(0.06), phases=[Phase.generate], database=None)
    @given(cases)
    def ask(case: Any) -> None:
        if isinstance(case.body, dict):
            # Long answers only cost time here.
            case.body["max_tokens"] = min(_number(case.body.get("max_tokens")), 5)
        reply = case.call()
        case.validate_response(reply, checks=list(_checks(reply)))

    ask()


def _checks(reply: schemathesis.Response) -> Iterator[CheckFunction]:
    yield from CHECKS
    # 501 says what this engine cannot do: the fake one has no adapters.
    if reply.status_code != 501:
        yield not_a_server_error
    # An event stream's schema is for the text; schemathesis would apply it to each event.
    if "event-stream" not in reply.headers.get("content-type", [""])[0]:
        yield response_schema_conformance


def _number(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 5


_NOTHING_WRONG_TO_SAY = (Unsatisfiable,)
