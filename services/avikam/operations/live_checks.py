"""Is this running gateway fit for production? Asked as a client, and as a stranger, would ask."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx

from avikam.operations.findings import Finding, broken, good, warned
from avikam.servebench.figures import figures
from avikam.servebench.prompts import generated_prompts
from avikam.servebench.run import Plan, run

_ASK = {"prompt": "Bonjour", "max_tokens": 1}
# A body this long must be refused before it is parsed.
_TOO_LONG = 1024 * 1024 + 1


class LiveChecks:
    """Checks against one gateway; nothing is changed there. Raises httpx.HTTPError when it is gone.

    ``milliseconds`` is what 99 % of first tokens may take under a load of ``requests`` with
    ``concurrency`` of them at a time.
    """

    def __init__(
        self, url: str, key: str | None, requests: int, concurrency: int, milliseconds: float
    ) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._requests = requests
        self._concurrency = concurrency
        self._milliseconds = milliseconds

    async def run(self) -> list[Finding]:
        """Every finding."""
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        async with (
            httpx.AsyncClient(base_url=self._url, headers=headers, timeout=60) as client,
            httpx.AsyncClient(base_url=self._url, timeout=60) as stranger,
        ):
            found = [await _readiness(client), *await _workers(client)]
            found += [await self._load(client)]
            found += [
                self._encryption(),
                await _stranger(stranger),
                await _wrong_key(stranger),
                await _metrics(stranger),
                await _long_body(client),
                await _signature(client),
            ]
        return found

    async def _load(self, client: httpx.AsyncClient) -> Finding:
        models = (await client.get("/v1/models")).json().get("data") or [{"id": ""}]
        prompts = generated_prompts(self._requests, 32, random.Random(0))
        plan = Plan(
            url=self._url,
            model=models[0]["id"],
            prompts=prompts,
            max_tokens=16,
            rate=float("inf"),
            max_concurrency=self._concurrency,
            key=self._key,
        )
        outcomes, seconds = await run(plan)
        seen = figures(outcomes, seconds, {}, [99])
        late = seen["p99_ttft_ms"]
        told = (
            f"{seen['completed']} of {self._requests} answered, "
            f"{seen['request_throughput']:.1f} requests/s, first token p99 {late:.0f} ms"
        )
        if seen["failed"]:
            error = next(outcome.error for outcome in outcomes if outcome.error)
            return broken("load", told, f"see the gateway's log; the first failure: {error}")
        if late > self._milliseconds:
            return broken("load", told, f"more workers: the limit is {self._milliseconds:.0f} ms")
        return good("load", told)

    def _encryption(self) -> Finding:
        parts = urlsplit(self._url)
        if parts.scheme == "https" or _is_loopback(parts.hostname or ""):
            return good("security: TLS", f"{parts.scheme} to {parts.hostname}")
        return broken("security: TLS", "keys travel in the clear", "put TLS before the gateway")


async def _readiness(client: httpx.AsyncClient) -> Finding:
    answer = await client.get("/readyz")
    if answer.status_code == 200:
        return good("readiness", "ready")
    return broken("readiness", f"/readyz says {answer.status_code}", "see the gateway's log")


async def _workers(client: httpx.AsyncClient) -> Iterator[Finding]:
    answer = await client.get("/info")
    info = answer.json() if answer.status_code == 200 else {}
    ready, known = info.get("workers_ready", 0), info.get("workers_known", 0)
    return iter(_judge_workers(ready, known))


def _judge_workers(ready: int, known: int) -> Iterator[Finding]:
    if ready < known:
        yield broken("fallback: workers", f"{ready} of {known} are ready", "see the others' logs")
    elif ready < 2:
        yield broken("fallback: workers", f"{ready} worker", "run two at least")
    else:
        yield good("fallback: workers", f"{ready} are ready")


async def _stranger(stranger: httpx.AsyncClient) -> Finding:
    answer = await stranger.post("/generate", json=_ASK)
    if answer.status_code in (401, 403):
        return good("security: keys", "nobody is served without one")
    return broken(
        "security: keys",
        f"a request without a key was answered with {answer.status_code}",
        "give the gateway a key file: avikam keys add --help",
    )


async def _wrong_key(stranger: httpx.AsyncClient) -> Finding:
    wrong = {"Authorization": "Bearer avk-nobody-0000000000000000000000000000000000000000000"}
    answer = await stranger.post("/generate", json=_ASK, headers=wrong)
    if answer.status_code in (401, 403, 429):
        return good("security: wrong keys", "are refused")
    return broken(
        "security: wrong keys", f"were answered with {answer.status_code}", "give it a key file"
    )


async def _metrics(stranger: httpx.AsyncClient) -> Finding:
    answer = await stranger.get("/metrics")
    if answer.status_code in (401, 403, 404):
        return good("security: metrics", "are not shown to strangers")
    return warned(
        "security: metrics", "are shown to everybody", "set metrics_port, or give it a key file"
    )


async def _long_body(client: httpx.AsyncClient) -> Finding:
    answer = await client.post("/generate", json={"prompt": "a" * _TOO_LONG, "max_tokens": 1})
    if answer.status_code == 413:
        return good("security: limits", "a JSON body above 1 MiB is refused")
    return broken(
        "security: limits", f"a body of 1 MiB got {answer.status_code}", "is this Avikam's gateway?"
    )


async def _signature(client: httpx.AsyncClient) -> Finding:
    answer = await client.get("/livez")
    if "server" in answer.headers:
        return warned(
            "security: headers",
            f"server: {answer.headers['server']}",
            "let the proxy before the gateway keep its name to itself",
        )
    return good("security: headers", "name no server")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
