"""What a newcomer meets: one command, the model that ships with it, the README's requests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from openai import OpenAI

from tests.cli.cluster_process import ServeProcess

README = Path(__file__).resolve().parents[2] / "README.md"

FRENCH_WORDS = """
je tu il elle on nous vous ils elles le la les un une des de du au aux à en et est sont pas ne que
qui se me te lui ce cette ces mon ma mes son sa ses pour avec dans sur plus très être a ai avait
fait comme mais ou où si bien tout j l d n c s qu m t ont été peux suis dit faire temps
"""
ENGLISH_WORDS = """
i you he she it we they the a an of to and is are was were not that this his her my your for with
in on at as but or if be been have has had do did don will would can could so very all me him them
there what who from by no up out about sure going know ve m s t re ll
"""
FRENCH, ENGLISH = frozenset(FRENCH_WORDS.split()), frozenset(ENGLISH_WORDS.split())


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    with ServeProcess(tmp_path_factory.mktemp("serve")) as running:
        yield running.wait_ready()


def generate(serve: ServeProcess, prompt: str, **params: object) -> dict[str, object]:
    body = {"prompt": prompt, "max_tokens": 40} | params
    answer = httpx.post(f"{serve.url}/generate", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    reply: dict[str, object] = answer.json()
    return reply


def test_the_readmes_curl_gets_the_readmes_reply(serve: ServeProcess) -> None:
    page = README.read_text("utf-8")
    request = re.search(r"/generate -d '(\{.*\})'", page)
    printed = re.search(r"```json\n(\{.*?\n\})\n```", page, flags=re.DOTALL)
    assert request
    assert printed
    answer = httpx.post(
        f"{serve.url}/generate",
        content=request[1],
        headers={"content-type": "application/x-www-form-urlencoded"},  # as curl sends it
        timeout=60,
    )
    assert answer.status_code == 200
    ours, readmes = answer.json(), json.loads(printed[1])
    assert all(ours[name] for name in TEXTS)
    if not runs_natively(serve):  # then some word may be another one, as the page says
        ours |= {name: readmes[name] for name in (*TEXTS, "finish_reason", "usage")}
    assert ours.keys() == readmes.keys()
    changing = {"id", "created", "timings"}
    assert {k: ours[k] for k in ours.keys() - changing} == {
        k: readmes[k] for k in readmes.keys() - changing
    }
    assert ours["timings"].keys() == readmes["timings"].keys()


TEXTS = ("text", "generated_text")


def runs_natively(serve: ServeProcess) -> bool:
    backend = httpx.get(f"{serve.url}/info", timeout=60).json()["attention_backend"]
    return bool(backend == "cpu-int8-native")


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("Traduis en anglais : Où est la gare ?", ("station", "where")),
        ("Translate to French: I am hungry.", ("faim",)),
        ("Traduis en anglais : Combien coûte ce livre ?", ("how much", "book")),
        ("Translate into French: We are going to the market tomorrow.", ("marché", "demain")),
    ],
)
def test_everyday_sentences_are_translated(
    serve: ServeProcess, asked: str, answered: tuple[str, ...]
) -> None:
    client = OpenAI(base_url=f"{serve.url}/v1", api_key="none")
    reply = client.chat.completions.create(
        model="avikam1-nano", messages=[{"role": "user", "content": asked}]
    )
    text = (reply.choices[0].message.content or "").lower()
    assert all(word in text for word in answered), text


PROMPTS = {
    "fr": (
        "Bonjour", "Il était une fois", "La France est", "Je voudrais", "Les enfants",
        "Aujourd'hui", "Mon père", "Nous avons", "Elle a dit", "C'est",
    ),
    "en": (
        "Hello", "Once upon a time", "The weather is", "I would like", "My name is",
        "Today", "My father", "We have", "She said", "It is",
    ),
}  # fmt: skip


@pytest.mark.parametrize("language", ["fr", "en"])
def test_ten_prompts_are_continued_in_their_language(serve: ServeProcess, language: str) -> None:
    mine, other = (FRENCH, ENGLISH) if language == "fr" else (ENGLISH, FRENCH)
    for prompt in PROMPTS[language]:
        words = re.findall(r"\w+", str(generate(serve, prompt)["text"]).lower())
        known, foreign = sum(w in mine for w in words), sum(w in other for w in words)
        assert words, prompt
        assert known >= 0.4 * len(words), f"{prompt!r} is continued with noise: {words}"
        assert known > 2 * foreign, f"{prompt!r} is continued in the wrong language: {words}"


def streamed(serve: ServeProcess, body: dict[str, object]) -> str:
    """The pieces of a stream that ended as it should, joined."""
    lines = httpx.post(f"{serve.url}/generate", json=body | {"stream": True}, timeout=120).text
    *events, end = (line.removeprefix("data: ") for line in lines.splitlines() if line)
    assert end == "[DONE]", lines
    pieces = [json.loads(event) for event in events]
    assert not any("error" in piece for piece in pieces), lines
    return "".join(piece.get("text", "") for piece in pieces)


def test_64_streams_through_the_cluster_give_what_each_gives_alone(serve: ServeProcess) -> None:
    bodies: list[dict[str, object]] = [
        {
            "prompt": PROMPTS["fr" if i % 4 < 2 else "en"][i % 10] * (1 + i % 3),
            "max_tokens": 5 + i % 20,
            **({"temperature": 0.8, "seed": i} if i % 2 else {}),
        }
        for i in range(64)
    ]
    alone = [str(generate(serve, **body)["text"]) for body in bodies]  # type: ignore[arg-type]
    with ThreadPoolExecutor(64) as crowd:
        together = list(crowd.map(lambda body: streamed(serve, body), bodies))
    assert together == alone
