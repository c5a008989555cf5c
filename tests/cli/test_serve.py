"""``avikam serve``: starts, answers, survives its workers, stops, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread

import httpx
import pytest

from tests.cli.cluster_process import ServeProcess
from tests.cli.processes import marked, wait_until

FAKE = ("--engine", "fake")


def test_the_printed_curl_works_as_it_stands(cluster: ServeProcess) -> None:
    command = re.search(r"curl .*", cluster.out)
    assert command is not None
    assert command[0].startswith(f"curl -X POST {cluster.url}/generate ")
    body = shlex.split(command[0])[-1]
    headers = {"content-type": "application/x-www-form-urlencoded"}  # as curl sends it
    answer = httpx.post(f"{cluster.url}/generate", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] > 0


def test_progress_is_lines_off_a_terminal(cluster: ServeProcess) -> None:
    words = [line.split(" (")[0] for line in cluster.err.splitlines()]
    assert words[0] == "Loading a fake engine"
    assert sorted(words[1:]) == [
        "gateway ready",
        "worker 1 loads the model",
        "worker 1 ready",
        "worker 2 loads the model",
        "worker 2 ready",
    ]


def test_one_process_per_service(cluster: ServeProcess) -> None:
    assert len(cluster.children("worker")) == 2
    assert len(cluster.children("gateway")) == 1


def test_a_killed_worker_is_started_again(tmp_path: Path) -> None:
    with ServeProcess(tmp_path, *FAKE) as serve:
        serve.wait_ready()
        (worker,) = serve.children("worker")
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: serve.children("worker") not in ({worker}, set()))
        wait_until(lambda: httpx.get(f"{serve.url}/readyz").status_code == 200)
        assert "worker 1 was killed by SIGKILL; starting it again in 0.5 s" in serve.err
        answer = httpx.post(f"{serve.url}/generate", json={"prompt": "a", "max_tokens": 3})
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_requests_finish_and_leaves_nothing(
    number: signal.Signals, tmp_path: Path
) -> None:
    with ServeProcess(tmp_path, *FAKE, "--plan", "ttft=1s") as serve:
        serve.wait_ready()
        answers: list[httpx.Response] = []
        request = Thread(target=lambda: answers.append(_generate(serve.url)))
        request.start()
        wait_until(lambda: _running(serve.url) > 0)
        serve.process.send_signal(number)
        assert serve.process.wait(30) == 0
        request.join()
        assert [answer.status_code for answer in answers] == [200]
        assert marked(serve.mark) == set()
        assert "stopping: running requests may finish" in serve.err


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    with ServeProcess(tmp_path, *FAKE, "--plan", "ttft=100s") as serve:
        serve.wait_ready()
        request = Thread(target=_generate_in_vain, args=(serve.url,))
        request.start()
        wait_until(lambda: _running(serve.url) > 0)
        serve.interrupt()
        wait_until(lambda: "stopping" in serve.err)
        assert serve.process.poll() is None
        serve.interrupt()
        assert serve.process.wait(10) == 130
        request.join()
        assert marked(serve.mark) == set()


def test_ctrl_c_while_loading_leaves_nothing(tmp_path: Path) -> None:
    with ServeProcess(tmp_path) as serve:
        wait_until(lambda: len(serve.children("worker")) == 1)
        serve.interrupt()
        assert serve.process.wait(30) == 0
        assert marked(serve.mark) == set()
        assert serve.out == ""


def test_a_killed_serve_takes_its_services_along(tmp_path: Path) -> None:
    with ServeProcess(tmp_path, *FAKE) as serve:
        serve.wait_ready()
        serve.process.kill()
        serve.process.wait()
        wait_until(lambda: marked(serve.mark) == set(), 30)


def test_a_terminal_gets_a_bar(tmp_path: Path) -> None:
    controller, terminal = os.openpty()
    serve = ["-m", "avikam", "serve", "--http-port", "0", *FAKE]
    with subprocess.Popen(
        [sys.executable, *serve], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=terminal
    ) as process:
        assert process.stdout is not None
        while b"Ctrl-C" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(30) == 0
    shown = os.read(controller, 65536).decode()
    os.close(controller)
    os.close(terminal)
    assert "Loading a fake engine" in shown
    assert "[####" in shown
    assert "100%" in shown


def test_a_terminal_that_has_gone_does_not_keep_the_cluster(tmp_path: Path) -> None:
    controller, terminal = os.openpty()
    serve = [sys.executable, "-m", "avikam", "serve", "--lifeline", "--http-port", "0", *FAKE]
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(
            serve,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=terminal,
            env={**os.environ, "AVIKAM_TEST_MARK": str(tmp_path)},
            start_new_session=True,
        )
    wait_until(lambda: "Ctrl-C" in (tmp_path / "out").read_text(), 60)
    os.close(terminal)
    os.close(controller)
    assert process.stdin is not None
    process.stdin.close()
    try:
        assert process.wait(30) == 0
        assert marked(str(tmp_path)) == set()
    finally:
        process.kill()


def _generate(url: str) -> httpx.Response:
    return httpx.post(f"{url}/generate", json={"prompt": "a", "max_tokens": 3}, timeout=120)


def _generate_in_vain(url: str) -> None:
    with pytest.raises(httpx.HTTPError):
        _generate(url)


def _running(url: str) -> int:
    """Requests inside the gateway beside the one that reads its metrics."""
    shown = httpx.get(f"{url}/metrics").text
    found = re.search(r"^avikam_gateway_requests_in_flight(?:\{.*\})? (\d+)", shown, re.MULTILINE)
    return int(found[1]) - 1 if found else 0
