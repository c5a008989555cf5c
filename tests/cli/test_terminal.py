"""``avikam generate`` and ``avikam chat`` against a real gateway, or their own."""

from __future__ import annotations

import json
import os
import subprocess

import httpx

from avikam.cli.client import Answer, Client
from avikam.cli.sampling import printable
from tests.cli.cluster_process import ServeProcess
from tests.cli.processes import AVIKAM, run_avikam

PROMPT = "Il était une fois"


def completion(url: str, prompt: str, max_tokens: int) -> str:
    """The same answer, asked for without streaming."""
    body = {"prompt": prompt, "max_tokens": max_tokens, "seed": 7}
    answer = httpx.post(f"{url}/generate", json=body)
    return str(answer.json()["text"])


def test_generate_streams_the_text_and_says_how_fast(cluster: ServeProcess) -> None:
    done = run_avikam("generate", PROMPT, "--max-tokens", "12", "--seed", "7", "--url", cluster.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout == printable(completion(cluster.url, PROMPT, 12)) + "\n"
    assert "12 tokens, first after" in done.stderr


def test_a_speed_needs_a_time_to_measure() -> None:
    usage = {"completion_tokens": 11}
    slow = Answer(usage=usage, first_seconds=0.5, total_seconds=1.0)
    assert slow.summary() == "11 tokens, first after 0.50 s, 20.0 tokens/s"
    burst = Answer(usage=usage, first_seconds=0.5, total_seconds=0.5001)
    assert burst.summary() == "11 tokens, first after 0.50 s"


def test_generate_as_json_reads_standard_input(cluster: ServeProcess) -> None:
    done = subprocess.run(
        [*AVIKAM, "generate", "-", "--json", "--max-tokens", "5", "--url", cluster.url],
        input=PROMPT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    shown = json.loads(done.stdout)
    assert shown["usage"]["completion_tokens"] == 5
    assert shown["finish_reason"] == "length"
    assert shown["timings"]["total_seconds"] >= shown["timings"]["first_seconds"] > 0


def test_a_refused_request_is_one_line(cluster: ServeProcess) -> None:
    done = run_avikam("generate", PROMPT, "--temperature", "9", "--url", cluster.url)
    assert done.returncode == 2
    assert done.stderr == "error: temperature is 9.0, must be between 0 and 2\n"


def test_a_model_or_an_adapter_is_asked_by_name(cluster: ServeProcess) -> None:
    asked = ("generate", PROMPT, "--max-tokens", "4", "--seed", "7", "--url", cluster.url)
    by_name = run_avikam(*asked, "--adapter", "avikam1-fake")
    unknown = run_avikam(*asked, "--adapter", "nobody")
    talk = chat(cluster.url, "Bonjour", options=("--adapter", "nobody"))
    assert by_name.stdout == printable(completion(cluster.url, PROMPT, 4)) + "\n"
    for done in (unknown, talk):
        assert "error: The model 'nobody' does not exist; there is avikam1-fake." in done.stderr


def test_a_gateway_that_is_not_there_is_one_line() -> None:
    done = run_avikam("generate", PROMPT, "--url", "http://127.0.0.1:9")
    assert done.returncode == 2
    assert done.stderr.startswith("error: http://127.0.0.1:9")
    assert done.stderr.count("\n") == 1


def chat(url: str, *lines: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*AVIKAM, "chat", "--max-tokens", "4", "--seed", "7", "--url", url, *options],
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_chat_answers_each_turn_and_ends_with_the_input(cluster: ServeProcess) -> None:
    done = chat(cluster.url, "Bonjour", "Ça va ?")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("[4 tokens, first after") == 2


def test_new_forgets_the_conversation(cluster: ServeProcess) -> None:
    twice = chat(cluster.url, "Bonjour", "/new", "Bonjour", "/exit", "never sent")
    first, second = twice.stdout.splitlines()[:2]
    assert first == second
    assert twice.stderr.count("first after") == 2


def test_a_command_that_is_none_is_not_said_to_the_model(cluster: ServeProcess) -> None:
    done = chat(cluster.url, "/help", "/quit", "/exit")
    known = "/new starts afresh, /exit or Ctrl-D ends, Ctrl-C stops an answer\n"
    assert done.stderr == f"{known}/quit is no command: {known}"
    assert done.stdout == ""


def test_a_conversation_that_became_too_long_tells_the_way_out(cluster: ServeProcess) -> None:
    done = chat(cluster.url, "Bonjour", "mot " * 2000, "Bonjour")
    assert "maximum context length is 2048 tokens" in done.stderr
    assert done.stderr.splitlines()[1].endswith("(/new starts afresh)")
    assert done.stderr.count("first after") == 2  # the long turn did not happen


def test_a_terminal_is_greeted_and_its_answer_streamed(cluster: ServeProcess) -> None:
    controller, terminal = os.openpty()
    with subprocess.Popen(
        [*AVIKAM, "chat", "--max-tokens", "4", "--seed", "7", "--url", cluster.url],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    ) as process:
        os.write(controller, b"Bonjour\n/exit\n")
        assert process.wait(60) == 0
    shown = os.read(controller, 65536).decode()
    os.close(controller)
    os.close(terminal)
    assert "/new starts afresh" in shown
    assert "you> " in shown
    assert "[4 tokens, first after" in shown


def test_the_client_fills_an_answer_while_it_streams(cluster: ServeProcess) -> None:
    client, answer = Client(cluster.url), Answer()
    pieces = list(client.complete(PROMPT, {"max_tokens": 8}, answer))
    client.close()
    assert "".join(pieces) == answer.text
    assert answer.tokens == 8
    assert answer.finish_reason == "length"


def test_what_a_model_says_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[2Jb\tc\nd\x9be") == "a\ufffd[2Jb\tc\nd\ufffde"


def test_generate_starts_its_own_cluster_when_none_runs() -> None:
    """With --model it never uses a running one, so port 8000 does not matter here."""
    from avikam.worker.settings import embedded_model

    done = run_avikam(
        *("generate", "Bonjour", "--max-tokens", "4", "--json"),
        *("--model", str(embedded_model())),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["usage"]["completion_tokens"] > 0
    assert "gateway ready" in done.stderr
