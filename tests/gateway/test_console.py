"""The pages for browsers: they work in a real one, and ask nobody but their gateway."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gateway.browser import Page, browser
from tests.gateway.harness import RunningGateway, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def test_browsers_get_a_page_and_others_the_routes(gateway: RunningGateway) -> None:
    page = await gateway.get("/", headers=HTML)
    listed = await gateway.get("/")

    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert listed.json()["name"] == "avikam"
    assert page.headers["vary"] == listed.headers["vary"] == "accept"


async def test_there_may_be_no_page() -> None:
    async with serving(console=False) as gateway:
        assert (await gateway.get("/", headers=HTML)).json()["name"] == "avikam"


async def in_browser(tmp_path: Path, act: Callable[[Page], None]) -> None:
    """``act`` on a page, beside the loop that serves it."""

    def visit() -> None:
        with browser(tmp_path) as page:
            act(page)

    await asyncio.to_thread(visit)


async def test_one_talks_with_the_model_in_a_browser(
    gateway: RunningGateway, tmp_path: Path
) -> None:
    messages = [{"role": "user", "content": "Bonjour <b>toi</b>"}]
    body = {"messages": messages, "max_tokens": 30, "seed": 7}
    reply = (await gateway.post("/v1/chat/completions", **body)).json()
    text = reply["choices"][0]["message"]["content"]

    def talk(page: Page) -> None:
        page.open(f"{gateway.server.url}/")
        page.wait("document.querySelectorAll('#model option').length == 1")
        page.run("document.querySelector('details').open = true")
        assert page.nameless_controls() == []

        page.run("at('max_tokens').value = 30; at('seed').value = 7")
        ask(page, messages[0]["content"])
        assert page.run("document.querySelector('li.user').textContent") == "Bonjour <b>toi</b>"
        assert page.run("turns[1].content") == text
        assert "30 tokens" in page.run("document.querySelector('li.assistant small').textContent")
        assert json.loads(shlex.split(page.run("curl()"))[-1])["seed"] == 7

        page.run("at('clear').click(); at('colour').checked = true")
        ask(page, messages[0]["content"])
        assert page.run("turns[1].content") == text
        assert page.run("document.querySelectorAll('li.assistant span[title]').length") > 5

        page.run("at('language').click()")
        assert page.run("document.documentElement.lang") == "fr"
        assert page.run("at('send').textContent") == "Envoyer"
        page.wait("at('load').textContent.includes('en attente')")

        page.run("at('clear').click(); at('temperature').value = 9")
        assert page.run("at('form').checkValidity()") is False
        assert (page.complaints, page.foreign(gateway.server.url)) == ([], [])

    await in_browser(tmp_path, talk)


def ask(page: Page, text: str) -> None:
    """Type it, press Enter, wait for the whole answer."""
    page.run(f"at('prompt').value = {json.dumps(text)}")
    enter = "new KeyboardEvent('keydown', {key: 'Enter', bubbles: true, cancelable: true})"
    page.run(f"at('prompt').dispatchEvent({enter})")
    page.wait("document.querySelector('li.assistant small')?.textContent && !running")


async def test_an_answer_can_be_stopped_and_an_error_is_told(tmp_path: Path) -> None:
    async with serving(plan="tpot=50ms") as gateway:

        def talk(page: Page) -> None:
            page.open(f"{gateway.server.url}/")
            page.run("at('max_tokens').value = 500; at('prompt').value = 'Bonjour'; send(); 0")
            page.wait("document.querySelector('li.assistant').textContent.length > 9")
            page.run("at('stop').click()")
            page.wait("document.querySelector('li.assistant small')?.textContent == 'stopped'")

            page.run("at('max_tokens').value = 5000; at('prompt').value = 'Bonjour'; send(); 0")
            page.wait("!at('problem').hidden")
            assert "maximum context length" in page.run("at('problem').textContent")

        await in_browser(tmp_path, talk)
        await gateway.idle()


async def test_the_documentation_works_in_a_browser(
    gateway: RunningGateway, tmp_path: Path
) -> None:
    def read(page: Page) -> None:
        page.open(f"{gateway.server.url}/docs")
        page.wait("document.querySelectorAll('.opblock').length > 15")
        assert (page.complaints, page.foreign(gateway.server.url)) == ([], [])

    await in_browser(tmp_path, read)
