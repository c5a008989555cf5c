"""Several gateways on one port: one scrape tells of all, and no counter falls."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Counter as PrometheusCounter
from prometheus_client import Histogram as PrometheusHistogram
from prometheus_client.parser import text_string_to_metric_families

from avikam.gateway.siblings import Siblings, merged

ODD = 'a "quoted", {braced}\\ and\nbroken'


def text_of(asked: int) -> str:
    """What one gateway shows: a label with all that is escaped, no label, and a histogram."""
    registry = CollectorRegistry()
    requests = PrometheusCounter("requests", "Help with {braces}.", ["route"], registry=registry)
    requests.labels(ODD).inc(asked)
    PrometheusCounter("plain", "Without a label.", registry=registry).inc(asked)
    PrometheusHistogram("seconds", "How long.", buckets=(1, 2), registry=registry).observe(asked)
    return generate_latest(registry).decode()


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample, as Prometheus' own parser reads them."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_each_series_is_there_once_for_each_gateway() -> None:
    one, two = text_of(1), text_of(2)
    together = samples(merged({"1": one, "2": two}).decode())

    for name, text in (("1", one), ("2", two)):
        for (series, labels), value in samples(text).items():
            assert together.pop((series, labels | {("gateway", name)})) == value
    answered = {labels: value for (_, labels), value in together.items()}
    assert answered == {frozenset({("gateway", name)}): 1 for name in ("1", "2")}


def test_a_family_is_written_once() -> None:
    """A second one of the same name is an error to Prometheus."""
    lines = merged({"1": text_of(1), "2": text_of(2)}).decode().splitlines()
    types = Counter(line for line in lines if line.startswith("# TYPE"))

    assert set(types.values()) == {1}


def test_what_is_no_sample_is_named() -> None:
    with pytest.raises(ValueError, match="'%%' is not a sample"):
        merged({"1": "# HELP a b\n# TYPE a gauge\n%%\n"})


async def test_one_that_does_not_answer_is_told_and_hides_no_other(tmp_path: Path) -> None:
    alive, dead = Siblings(tmp_path, "1"), Siblings(tmp_path, "2")
    await alive.show(lambda: text_of(3).encode())
    await dead.show(lambda: text_of(4).encode())
    both = samples((await dead.text()).decode())
    assert dead._server is not None
    dead._server.close()

    left = samples((await alive.text()).decode())
    await alive.stop()

    assert {labels for name, labels in both if name == "plain_total"} == {
        frozenset({("gateway", name)}) for name in ("1", "2")
    }
    assert left["plain_total", frozenset({("gateway", "1")})] == 3
    assert left["avikam_gateway_answered", frozenset({("gateway", "1")})] == 1
    assert left["avikam_gateway_answered", frozenset({("gateway", "2")})] == 0


async def test_one_that_was_killed_comes_back_under_its_name(tmp_path: Path) -> None:
    killed = Siblings(tmp_path, "1")
    await killed.show(lambda: text_of(1).encode())
    again = Siblings(tmp_path, "1")
    await again.show(lambda: text_of(2).encode())

    other = Siblings(tmp_path, "2")
    await other.show(lambda: text_of(5).encode())
    shown = samples((await other.text()).decode())
    await asyncio.gather(again.stop(), other.stop())

    assert shown["plain_total", frozenset({("gateway", "1")})] == 2
    assert shown["avikam_gateway_answered", frozenset({("gateway", "2")})] == 1


async def test_nothing_is_left_of_those_that_have_ended(tmp_path: Path) -> None:
    one = Siblings(tmp_path, "1")
    await one.show(lambda: b"")
    await one.stop()

    assert os.listdir(tmp_path) == []  # noqa: PTH208 - a path's own methods block by their type
