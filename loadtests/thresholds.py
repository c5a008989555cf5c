"""Pass or fail: the run's exit status says whether it kept what was asked.

--max-failures 0   share of requests that may fail
--max-p99 0.1      seconds that 99 % of the requests may take at most
--min-rate 950     requests per second that must be completed
"""

from __future__ import annotations

import logging
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any

import gevent
from locust import events
from locust.env import Environment

_log = logging.getLogger(__name__)


def options(environment: Environment) -> Namespace:
    """What the command line asked for."""
    if environment.parsed_options is None:
        raise RuntimeError("load tests need Locust's command line")
    asked: Namespace = environment.parsed_options
    return asked


def _add_options(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("Avikam thresholds")
    group.add_argument("--max-failures", type=float, default=0.0, help="share that may fail")
    group.add_argument("--max-p99", type=float, default=0.0, help="seconds; 0: any")
    group.add_argument("--min-rate", type=float, default=0.0, help="requests per second; 0: any")
    group.add_argument("--max-tokens", type=int, default=16, help="tokens of each answer")


def _start_the_clock(**_: Any) -> None:
    """Let --run-time begin now: gevent's loop still has the time of before all the imports."""
    gevent.get_hub().loop.update_now()


def _judge(environment: Environment, **_: Any) -> None:
    for problem in problems(environment):
        _log.error("FAILED: %s", problem)
        environment.process_exit_code = 1


def problems(environment: Environment) -> Iterator[str]:
    """What the run did not keep, one sentence each."""
    total, asked = environment.stats.total, options(environment)
    if total.num_requests == 0:
        yield "no request was made"
        return
    if total.fail_ratio > asked.max_failures:
        yield f"{total.num_failures} of {total.num_requests} requests failed"
    p99 = total.get_response_time_percentile(0.99) / 1000
    if asked.max_p99 and p99 > asked.max_p99:
        yield f"99 % of the requests took up to {p99:.3f} s, more than {asked.max_p99} s"
    if asked.min_rate and total.total_rps < asked.min_rate:
        yield f"{total.total_rps:.0f} requests/s were completed, fewer than {asked.min_rate:g}"


events.init_command_line_parser.add_listener(_add_options)
events.init.add_listener(_start_the_clock)
events.quitting.add_listener(_judge)
