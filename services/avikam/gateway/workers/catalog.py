"""What clients may call a model: its id, an adapter's name, or one of the aliases they send."""

from __future__ import annotations

from collections.abc import Callable

from avikam.gateway.errors import no_worker_ready
from avikam.gateway.workers.pool import Pool
from avikam.protocol.errors import ApiError

# "tgi" and "default" are what TGI's clients and others send when they have no name.
ALIASES = frozenset({"", "avikam", "default", "tgi"})
_SHOWN = 64


class Catalog:
    """Finds (model, adapter) for a name among what the ready workers have.

    While no worker is ready, e.g. because the pool scales from zero, requests wait for the first
    one up to ``first_worker_seconds``.
    """

    def __init__(
        self,
        pool: Pool,
        clock: Callable[[], float],
        first_worker_seconds: float,
        lenient: bool = False,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._first_worker_seconds = first_worker_seconds
        self._lenient = lenient

    async def resolve(self, name: str, deadline: float) -> tuple[str, str]:
        """Model id and adapter name (empty for none); 404 for a name nobody has."""
        while not self._pool.models:
            await self._first_worker(deadline)
        return self.find(name)

    def find(self, name: str) -> tuple[str, str]:
        """The same among the workers that are ready now; 503 when there are none."""
        models = self._pool.models
        if not models:
            raise no_worker_ready()
        if name in models:
            return name, ""
        if name in ALIASES:
            return min(models), ""
        base = self.base_of(name)
        if base is not None:
            return base, name
        if self._lenient:
            return min(models), ""
        raise unknown_model(name, sorted([*models, *self._pool.adapters]))

    def fingerprint(self, model: str) -> str:
        """OpenAI's ``system_fingerprint``: another one when answers may differ."""
        prints = (worker.fingerprint for worker in self._pool.ready if worker.model == model)
        return next(prints, "")

    def context(self, model: str) -> int:
        """Tokens that a model's prompt and answer may have together; 0 when no worker has it."""
        info = self._pool.models.get(model)
        return info.max_model_len if info is not None else 0

    @property
    def longest_context(self) -> int:
        """The same of the model that takes most."""
        return max((info.max_model_len for info in self._pool.models.values()), default=0)

    async def _first_worker(self, deadline: float) -> None:
        patience = min(deadline, self._clock() + self._first_worker_seconds)
        while not self._pool.ready:
            remaining = patience - self._clock()
            if remaining <= 0:
                raise no_worker_ready()
            await self._pool.wait_for_change(min(remaining, 1.0))

    def base_of(self, adapter: str) -> str | None:
        """Id of the model that an adapter belongs to; None when no worker has it."""
        for worker in self._pool.ready:
            status = worker.status
            if status is not None and any(a.name == adapter for a in status.adapters):
                return status.model.id
        return None


def unknown_model(name: str, known: list[str]) -> ApiError:
    """404, with the names that would work."""
    shown = name if len(name) <= _SHOWN else name[:_SHOWN] + "…"
    return ApiError(
        404,
        f"The model {shown!r} does not exist; there is {', '.join(known)}.",
        "model_not_found",
        "model",
    )
