"""``avikam serve --gateways``: any scrape of the one port tells what all gateways have done."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from avikam.cli.plan import free_ports
from tests.cli.cluster_process import ServeProcess
from tests.cli.processes import wait_until

ASK = {"prompt": "a", "max_tokens": 1}
Counts = dict[str, dict[tuple[str, ...], float]]


def scrape(url: str) -> Counts:
    """Counters and what histograms count, by gateway, over a connection of its own."""
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    counts: Counts = {}
    for family in text_string_to_metric_families(text):
        for name, labels, value, *_ in family.samples:
            if family.type in ("counter", "histogram") and "/metrics" not in labels.values():
                series = (name, *(f"{k}={v}" for k, v in sorted(labels.items()) if k != "gateway"))
                counts.setdefault(labels["gateway"], {})[series] = value
    return counts


def generated(counts: Counts) -> dict[str, float]:
    """Requests that each gateway has answered."""
    series = ("avikam_gateway_requests_total", "route=/generate", "status=200")
    return {gateway: each.get(series, 0.0) for gateway, each in counts.items()}


def test_one_scrape_tells_of_all_and_no_counter_falls(tmp_path: Path) -> None:
    with ServeProcess(tmp_path, "--engine", "fake", "--gateways", "3") as serve:
        url = serve.wait_ready().url
        before: Counts = {}
        for number in range(60):
            assert httpx.post(f"{url}/generate", json=ASK, trust_env=False).status_code == 200
            seen = scrape(url)
            assert sum(generated(seen).values()) == number + 1
            assert set(seen) == {"1", "2", "3"}
            for gateway, series in before.items():
                for name, value in series.items():
                    assert seen[gateway][name] >= value, (gateway, name)
            before = seen
        # Whoever is asked, all have worked.
        assert min(generated(before).values()) > 0

        _one_starts_again(serve, url, before)
        serve.interrupt()
        wait_until(lambda: serve.process.poll() == 0)


def _one_starts_again(serve: ServeProcess, url: str, before: Counts) -> None:
    """Its own series begin at 0 again, which Prometheus knows; the others' go on."""
    os.kill(min(serve.children("gateway")), signal.SIGKILL)
    wait_until(lambda: "starting it again" in serve.err)
    wait_until(
        lambda: set(scrape(url)) == {"1", "2", "3"} and 0.0 in generated(scrape(url)).values()
    )
    after = generated(scrape(url))

    assert sorted(after.values()) == sorted(
        0.0 if value == 0.0 else generated(before)[gateway] for gateway, value in after.items()
    )
    assert list(after.values()).count(0.0) == 1


def test_an_own_port_each_is_counted_up(tmp_path: Path) -> None:
    """With --metrics-port, gateway i has port + i, and the REST port has no /metrics."""
    first = next(port for port in (free_ports(1)[0] for _ in range(50)) if _free(port + 1))
    arguments = ("--engine", "fake", "--gateways", "2", f"--metrics-port={first}")
    with ServeProcess(tmp_path, *arguments) as serve:
        url = serve.wait_ready().url
        for _ in range(40):
            httpx.post(f"{url}/generate", json=ASK, trust_env=False)
        shown = [
            httpx.get(f"http://127.0.0.1:{first + i}/metrics", trust_env=False).text for i in (0, 1)
        ]
        assert httpx.get(f"{url}/metrics", trust_env=False).status_code == 404

    counts = [_requests(text) for text in shown]
    assert sum(counts) == 40
    assert min(counts) > 0


def _requests(text: str) -> float:
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "avikam_gateway_requests_total" and sample.labels["route"] == "/generate"
    )


def _free(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) != 0
