"""The gateway's parts, put together: one object graph, and the ASGI application on top of it.

Forwarded ─► Edge ─► Browsers ─► Guard ─► KeyCheck ─► Shedder ─► Dispatch
what a       id,     foreign     sizes    keys,       a full     the endpoint
proxy says   route,  pages                scopes      queue      of the route
             errors
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace

from prometheus_client import generate_latest
from starlette.types import ASGIApp

from avikam import __version__
from avikam.common.tracing import open_tracing
from avikam.gateway.access.gatekeeper import Gatekeeper
from avikam.gateway.access.hosts import HostNames
from avikam.gateway.access.live_keys import LiveKeys
from avikam.gateway.access.tariff import Tariff
from avikam.gateway.admission.admission import Admission, AdmissionLimits
from avikam.gateway.api.adapters import AdapterRoutes, LoadAdapterBody, UnloadAdapterBody
from avikam.gateway.api.chat import ChatBody
from avikam.gateway.api.completions import CompletionBody
from avikam.gateway.api.generate import GenerateBody
from avikam.gateway.api.generate_routes import GenerateRoutes
from avikam.gateway.api.intake import Intake
from avikam.gateway.api.messages import MessagesBody, MessagesConversation
from avikam.gateway.api.messages_routes import MessagesRoutes
from avikam.gateway.api.models import ModelRoutes
from avikam.gateway.api.openai_routes import OpenAIRoutes
from avikam.gateway.api.operations import OperationRoutes
from avikam.gateway.api.reply_schemas import EVENTS, REPLIES
from avikam.gateway.api.responses import ResponsesBody
from avikam.gateway.api.tgi import TgiBody
from avikam.gateway.api.tokenizer import DetokenizeBody, TokenizeBody, TokenizerRoutes
from avikam.gateway.budget.room import NO_ROOM, Room
from avikam.gateway.console.index import Index
from avikam.gateway.doors.call import Call
from avikam.gateway.doors.http.browsers import Browsers
from avikam.gateway.doors.http.dispatch import Dispatch
from avikam.gateway.doors.http.documentation import Documentation
from avikam.gateway.doors.http.edge import Edge
from avikam.gateway.doors.http.forwarded import Forwarded
from avikam.gateway.doors.http.guard import Guard
from avikam.gateway.doors.http.key_check import KeyCheck
from avikam.gateway.doors.http.router import Router
from avikam.gateway.doors.http.routes import Route, generating, looking, working
from avikam.gateway.doors.http.shedder import Shedder
from avikam.gateway.drain import Drain
from avikam.gateway.handler import Handler
from avikam.gateway.idempotency.answers import Answers
from avikam.gateway.idempotency.shelf import Shelf
from avikam.gateway.limits.counters import Counters, LocalCounters, SharedCounters
from avikam.gateway.limits.rates import Rates
from avikam.gateway.metered_handler import MeteredHandler
from avikam.gateway.metrics import GatewayMetrics
from avikam.gateway.resilience.breaker import POOL_RULES, Breaker, State
from avikam.gateway.resilience.loop_lag import TICK, LoopLag
from avikam.gateway.resilience.quarantine import Quarantine
from avikam.gateway.resilience.retry_budget import RetryBudget
from avikam.gateway.resilience.watchdog import Watchdog
from avikam.gateway.routing.policies import POLICIES
from avikam.gateway.sequence.recovery import Recovery, RecoveryRules
from avikam.gateway.sequence.run import Surroundings
from avikam.gateway.settings import GatewaySettings
from avikam.gateway.shared_state.breaker_hint import BreakerHint
from avikam.gateway.shared_state.link import RedisLink
from avikam.gateway.shared_state.registry import Registry
from avikam.gateway.siblings import Siblings
from avikam.gateway.tokenizing import Tokenizing
from avikam.gateway.traces import Traces
from avikam.gateway.workers.catalog import Catalog
from avikam.gateway.workers.channel import channel_opener
from avikam.gateway.workers.discovery import Discovery
from avikam.gateway.workers.pool import Pool
from avikam.gateway.workers.pulse import PulseWatch
from avikam.protocol.errors import ApiError


class Gateway:
    """Everything behind the listeners, made from settings. Needs a running event loop.

    ``siblings`` are there when several gateways listen on one port.
    Raises AddressError, KeyFileError and TracingError for settings it cannot work with.
    """

    def __init__(self, settings: GatewaySettings, siblings: Siblings | None = None) -> None:
        clock, rng = time.monotonic, random.Random()
        self.settings = settings
        self._siblings = siblings
        self._keys = LiveKeys(settings.keys) if settings.keys is not None else None
        self.drain = Drain()
        self._lag = LoopLag(settings.max_loop_lag_ms / 1000)
        self.metrics = GatewayMetrics()
        self.redis = _redis_link(settings, self.metrics)
        self.gatekeeper = Gatekeeper(self._keys, _tariff(settings, self.redis, clock), clock)
        self.pool = Pool(
            POLICIES[settings.routing],
            clock,
            rng,
            self.metrics.note_breaker,
            channel_opener(settings),
        )
        self.admission = Admission(lambda: self.pool.room, _admission_limits(settings), clock)
        self.budget = RetryBudget(
            clock, settings.retry_budget, on_take=self.metrics.charged_retries.inc
        )
        self._discovery = Discovery(
            self.pool,
            settings.workers,
            settings.discovery_seconds,
            rng,
            Registry(self.redis) if self.redis is not None else None,
        )
        self._pulses = PulseWatch(lambda: self.pool.ready, rng)
        self._watchdog = Watchdog(clock, settings.heartbeat_seconds)
        catalog = Catalog(
            self.pool, clock, settings.first_worker_seconds, settings.lenient_model_name
        )
        recovery = Recovery(
            RecoveryRules(settings.retries, settings.retry_pause_seconds, resumes=settings.resumes),
            self.budget,
            lambda: self.pool.half_died,
            clock,
            rng,
        )
        surroundings = Surroundings(
            self.pool,
            self.admission,
            recovery,
            self._watchdog,
            Quarantine(clock),
            self.metrics,
            clock,
            settings.first_worker_seconds,
            settings.same_weights_seconds,
        )
        self._hint = BreakerHint(self.redis, "pool") if self.redis is not None else None
        self.breaker = Breaker(POOL_RULES, clock, rng, self._note_breaker)
        self.handler = MeteredHandler(
            Handler(
                catalog, surroundings, self.breaker, self.budget, rng, settings.batch_concurrency
            )
        )
        self.tokenizing = Tokenizing(self.pool, catalog)
        self.catalog = catalog
        self.answers = _answers(settings, self.redis, clock)
        self.tracing = _tracing(settings)
        self.room = Room(settings.body_bytes, self.metrics.shed.labels(NO_ROOM).inc)
        self.door = Intake(
            self.handler,
            self.answers,
            settings,
            clock,
            self.room,
            lambda: catalog.longest_context,
        )
        self.hosts = HostNames(settings.hosts, keyless=settings.keys is None)
        self.asgi = self._application(clock)

    def background(self) -> list[Coroutine[None, None, None]]:
        """What runs beside the listeners as long as they do."""
        work = [self._discovery.run(), self._pulses.run(), self._watchdog.run()]
        work += [self._let_in(), self.answers.run(), self._watch_lag()]
        if self._keys is not None:
            work.append(self._keys.run())
        if self.redis is not None:
            work.append(self.redis.run())
        if self._hint is not None:
            work.append(self._hint.run(self.breaker))
        return work

    def _note_breaker(self, state: State) -> None:
        self.metrics.note_breaker("pool", state)
        if self._hint is not None:
            self._hint.note(state)

    async def _let_in(self) -> None:
        """Start waiting sequences when workers come or get room; keep the gauges fresh."""
        while True:
            await self.pool.wait_for_change(0.25)
            self.admission.let_in()
            # A metrics port of its own is served by a thread, which must not look for itself.
            self._refresh_metrics()

    async def _watch_lag(self) -> None:
        """Measure how late the event loop is."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK
            await asyncio.sleep(TICK)
            late = max(0.0, loop.time() - due)
            self._lag.note(late)
            self.metrics.loop_lag.observe(late)

    def _application(self, clock: Callable[[], float]) -> ASGIApp:
        settings = self.settings
        self.router = router = Router(self._routes())
        app: ASGIApp = Dispatch(router)
        app = Shedder(app, self.metrics, self._refusal)
        app = KeyCheck(app, self.gatekeeper)
        app = Guard(app, self.metrics, settings.max_requests, self.room)
        app = Browsers(app, self.hosts, settings.cors_origins, settings.keys is None)
        app = Edge(app, router, self.metrics, clock, settings.access_log, self.tracing)
        return Forwarded(app, settings.root_path, settings.trusted_proxies)

    def _refusal(self, call: Call) -> ApiError | None:
        return self._lag.refusal() or self.admission.refusal(call.tenant, priority=call.priority)

    def _routes(self) -> list[Route]:
        generate = GenerateRoutes(self.door)
        openai = OpenAIRoutes(self.door, self.tokenizing)
        messages = MessagesRoutes(self.door, self.tokenizing)
        adapters = AdapterRoutes(self.door, self.pool)
        models = ModelRoutes(self.pool, self.catalog, self.admission, __version__)
        tokenizer = TokenizerRoutes(self.door, self.tokenizing, self.pool)
        operations = OperationRoutes(self.pool, self.drain, self._exposition, __version__)
        own = (GenerateBody, TgiBody)
        routes = [
            generating("/generate", generate.generate, own, protobuf=True),
            generating("/generate_stream", generate.stream, own, protobuf=True),
            generating("/v1/completions", openai.completions, (CompletionBody,)),
            generating("/v1/chat/completions", openai.chat, (ChatBody,)),
            generating("/v1/responses", openai.responses, (ResponsesBody,)),
            generating("/v1/messages", messages.messages, (MessagesBody,)),
            working("/v1/messages/count_tokens", messages.count_tokens, (MessagesConversation,)),
            working("/v1/load_lora_adapter", adapters.load, (LoadAdapterBody,), "admin"),
            working("/v1/unload_lora_adapter", adapters.unload, (UnloadAdapterBody,), "admin"),
            looking("/v1/models", models.list_models, protobuf=True),
            looking("/v1/models/{model:path}", models.get_model),
            working("/tokenize", tokenizer.tokenize, (TokenizeBody,), protobuf=True),
            working("/detokenize", tokenizer.detokenize, (DetokenizeBody,)),
            looking("/tokenizer_info", tokenizer.tokenizer_info),
            looking("/info", models.info),
            looking("/version", operations.version),
            looking("/livez", operations.livez, "open"),
            looking("/readyz", operations.readyz, "open"),
            looking("/health", operations.readyz, "open"),
            looking("/health/live", operations.livez, "open"),
            looking("/health/ready", operations.readyz, "open"),
            generating("/", generate.root, (TgiBody,)),
        ]
        if self.settings.metrics_port is None:
            metrics = looking("/metrics", operations.metrics, "metrics")
            routes.append(replace(metrics, media_type="text/plain"))
        routes = [looking("/", _index(routes, self.settings.console).index), *routes]
        routes = [_with_replies(route) for route in routes]
        return routes + (Documentation(routes, __version__).routes() if self.settings.docs else [])

    def own_metrics(self) -> bytes:
        """What this gateway measures, in Prometheus' text format."""
        self._refresh_metrics()
        return generate_latest(self.metrics.registry)

    async def _exposition(self) -> bytes:
        """What /metrics shows: the numbers of all gateways that listen on its port."""
        return self.own_metrics() if self._siblings is None else await self._siblings.text()

    def _refresh_metrics(self) -> None:
        """Gauges that are cheaper to read than to keep."""
        self.metrics.workers_known.set(len(self.pool))
        ready = self.pool.ready
        self.metrics.workers_ready.set(len(ready))
        self.metrics.workers_late.set(sum(worker.late for worker in ready))
        self.metrics.running.set(self.admission.running)
        self.metrics.queue_depth.set(self.admission.waiting)
        self.metrics.retry_budget.set(self.budget.remaining)


def _with_replies(route: Route) -> Route:
    replies = REPLIES.get((route.method, route.path), ())
    return replace(route, replies=replies, events=EVENTS.get(route.path, ("message",)))


def _index(routes: list[Route], console: bool) -> Index:
    listed = [{"method": r.method, "path": r.path, "does": r.summary} for r in routes]
    return Index({"name": "avikam", "version": __version__, "routes": listed}, console)


def _tracing(settings: GatewaySettings) -> Traces | None:
    tracing = open_tracing(settings, "avikam-gateway", f"{socket.gethostname()}:{os.getpid()}")
    if tracing is None:
        return None
    from avikam.gateway.request_trace import GatewayTracing

    return GatewayTracing(tracing)


def _redis_link(settings: GatewaySettings, metrics: GatewayMetrics) -> RedisLink | None:
    if settings.redis is None:
        return None
    return RedisLink(
        settings.redis.get_secret_value(),
        settings.redis_timeout_seconds,
        on_change=lambda up: metrics.redis_degraded.set(not up),
        secret="" if settings.redis_secret is None else settings.redis_secret.get_secret_value(),
    )


def _tariff(
    settings: GatewaySettings, redis: RedisLink | None, clock: Callable[[], float]
) -> Tariff:
    rates = Rates(
        requests_per_minute=settings.requests_per_minute,
        tokens_per_minute=settings.tokens_per_minute,
        concurrent_requests=settings.concurrent_requests,
    )
    counters: Counters = LocalCounters() if redis is None else SharedCounters(redis)
    return Tariff(rates, counters, clock)


def _answers(
    settings: GatewaySettings, redis: RedisLink | None, clock: Callable[[], float]
) -> Answers:
    seconds = settings.idempotency_seconds
    seal = redis.seal if redis is not None else None
    shelf = Shelf(redis, seal, seconds) if redis is not None and seal is not None else None
    return Answers(seconds, settings.idempotency_bytes, clock, shelf)


def _admission_limits(settings: GatewaySettings) -> AdmissionLimits:
    return AdmissionLimits(
        settings.queue_requests, settings.queue_tokens, settings.first_worker_seconds
    )
