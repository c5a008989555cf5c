"""The numbers of a limit, as the settings and the key file have them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Rates(BaseModel):
    """What may be used; None is without limit."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    concurrent_requests: int | None = Field(default=None, ge=1)

    @property
    def limited(self) -> bool:
        """Whether there is a limit at all."""
        limits = self.requests_per_minute, self.tokens_per_minute, self.concurrent_requests
        return limits != (None, None, None)
