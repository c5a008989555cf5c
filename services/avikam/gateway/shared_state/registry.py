"""The workers that announced themselves in the Redis of the gateways."""

from __future__ import annotations

from avikam.common.worker_registry import listed
from avikam.gateway.shared_state.link import RedisLink


class Registry:
    """Reads the list; see :mod:`avikam.common.worker_registry`."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def addresses(self) -> set[str] | None:
        """What is listed now; None when Redis does not say."""
        return await self._link.ask(lambda: listed(self._link.client))
