"""The 1,000 requests/s test: arrivals come at their own times, whether or not answers do.

A closed loop of users slows down with the server and hides its worst moments. Here arrivals are
Poisson, each in its own greenlet, and a request's time counts from when it should have started.

The first seconds, when every connection is new, are not counted unless they fail.

    locust -f loadtests/open_model.py --headless --users 1 --run-time 65s --rate 1000 \
        --max-p99 0.1 --min-rate 950 --host http://127.0.0.1:8000
"""

from __future__ import annotations

import random
import time
from argparse import ArgumentParser

import gevent
from gevent.pool import Pool
from locust import User, events, task
from locust.exception import ResponseError, StopUser

from loadtests.keep_alive import KeepAlive
from loadtests.payloads import headers, json_body
from loadtests.thresholds import options

# More open requests than this is a server that has given up.
MOST_OPEN = 2000


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--rate", type=float, default=1000.0, help="arrivals per second")
    parser.add_argument("--warm-up", type=float, default=5.0, help="seconds that are not counted")


events.init_command_line_parser.add_listener(_add_options)


class Arrivals(User):
    """One user is the whole world: it starts requests and waits for none."""

    def on_start(self) -> None:
        """Time counts from here."""
        if self.environment.runner and self.environment.runner.user_count > 1:
            raise StopUser
        self._client = KeepAlive(self.host or "", headers(), seconds=60)
        self._pool = Pool(MOST_OPEN)
        self._rng = random.Random(1)
        self._due = time.perf_counter()
        gevent.spawn_later(options(self.environment).warm_up, self._count_anew)

    def _count_anew(self) -> None:
        """Forget the warm-up, unless something went wrong in it."""
        stats = self.environment.stats
        if not stats.total.num_failures:
            stats.reset_all()

    def on_stop(self) -> None:
        """Let what was started come to its end."""
        self._pool.join(timeout=30)

    @task
    def arrive(self) -> None:
        """Start each request at its time, late ones at once, until Locust ends this."""
        rate = options(self.environment).rate
        while True:
            self._due += self._rng.expovariate(rate)
            gevent.sleep(max(self._due - time.perf_counter(), 0))
            self._pool.spawn(self._request, self._due)

    def _request(self, due: float) -> None:
        length = 0
        error: Exception | None = None
        try:
            length = self._ask()
        except Exception as problem:
            # Whatever it was, it was no answer.
            error = problem
        self.environment.events.request.fire(
            request_type="POST",
            name="/generate",
            response_time=(time.perf_counter() - due) * 1000,
            response_length=length,
            exception=error,
            context={},
        )

    def _ask(self) -> int:
        body = json_body(options(self.environment).max_tokens)
        status, content = self._client.post("/generate", body)
        if status != 200:
            raise ResponseError(f"status {status}")
        return len(content)
