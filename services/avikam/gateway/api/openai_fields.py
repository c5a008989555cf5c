"""What OpenAI's two generation routes share."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from avikam.gateway.api.field_types import Choices, ModelName
from avikam.gateway.api.fields import SamplingFields, StrictBody
from avikam.protocol.errors import invalid

_OBJECT: dict[str, Any] = {"type": "object"}
_WITH_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["schema"],
    "properties": {"schema": _OBJECT},
}
_FORMS: list[Any] = [
    {"properties": {"type": {"enum": ["text", "json_object"]}}},
    {"properties": {"json_schema": _WITH_SCHEMA}, "required": ["json_schema"]},
    {"properties": {"schema": _OBJECT, "json_schema": {"type": "null"}}, "required": ["schema"]},
]


class StreamOptions(StrictBody):
    """OpenAI's ``stream_options``, and vLLM's addition."""

    model_config = ConfigDict(strict=True, extra="ignore")

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class ResponseFormat(StrictBody):
    """What the answer must look like."""

    model_config = ConfigDict(
        strict=True,
        extra="ignore",
        json_schema_extra={"anyOf": _FORMS},
    )

    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, Any] | None = None
    # llama.cpp's and Together's place of the schema.
    inner_schema: dict[str, Any] | None = Field(default=None, alias="schema")

    def schema_wanted(self) -> dict[str, Any] | None:
        """The JSON schema to hold to, or None for plain text."""
        if self.type == "text":
            return None
        if self.type == "json_object":
            return self.inner_schema or {"type": "object"}
        schema = (self.json_schema or {}).get("schema", self.inner_schema)
        if not isinstance(schema, dict):
            raise invalid("response_format.json_schema.schema is required", "response_format")
        return schema


class OpenAIFields(SamplingFields):
    """Fields that completions and chat share."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: ModelName = None
    n: Choices = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    def check_stream_options(self) -> None:
        """400 for options that ask for something of a stream that there is not."""
        options = self.stream_options
        if options is not None and not self.stream and any(dict(options).values()):
            raise invalid("stream_options goes with stream: true", "stream_options")

    @property
    def usage_wanted(self) -> bool:
        """Whether a stream ends with a usage chunk."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def usage_always(self) -> bool:
        """Whether every chunk has the usage so far."""
        options = self.stream_options
        return bool(options and options.continuous_usage_stats and options.include_usage)
