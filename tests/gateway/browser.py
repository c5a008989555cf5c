"""A real browser without a screen, told what to do over the DevTools protocol.

with browser(tmp_path) as page:
    page.open("http://127.0.0.1:8000/")
    page.wait("document.title == 'Avikam'")
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import websocket

from tests.tools import require_tool
from tests.worker.harness import PATIENCE

_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--lang=en"),
    *("--remote-debugging-port=0", "--remote-allow-origins=*", "--window-size=900,700"),
)
_ANNOUNCED = "DevTools listening on "


class Page:
    """One tab. ``complaints`` is what its console and its log say, ``asked`` what it fetched."""

    def __init__(self, socket: websocket.WebSocket) -> None:
        self._socket = socket
        self._session = ""
        self._sent = 0
        self.complaints: list[str] = []
        self.asked: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self._call(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Go there and wait until everything has been loaded."""
        self._call("Page.navigate", url=url)
        self.wait(f"location.href == {json.dumps(url)} && document.readyState == 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        reply = self._call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in reply, reply["exceptionDetails"]
        return reply["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression is true."""
        deadline = time.monotonic() + PATIENCE
        while not self.run(condition):
            assert time.monotonic() < deadline, f"never: {condition}; {self.complaints}"
            time.sleep(0.05)

    def nameless_controls(self) -> list[str]:
        """Roles of what takes the focus and has no name for those who do not see it."""
        nodes = self._call("Accessibility.getFullAXTree")["nodes"]
        return [
            node["role"]["value"]
            for node in nodes
            if any(p["name"] == "focusable" for p in node.get("properties", ()))
            and node["role"]["value"] != "RootWebArea"
            and not node.get("name", {}).get("value")
        ]

    def foreign(self, origin: str) -> list[str]:
        """What was fetched from anywhere but the origin."""
        return [url for url in self.asked if urlsplit(url).scheme != "data" and origin not in url]

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            reply = json.loads(self._socket.recv())
            if reply.get("id") == self._sent:
                assert "error" not in reply, reply
                result: dict[str, Any] = reply["result"]
                return result
            self._note(reply)

    def _note(self, event: dict[str, Any]) -> None:
        details = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.asked.append(details["request"]["url"])
            case "Log.entryAdded":
                self.complaints.append(details["entry"]["text"])
            case "Runtime.exceptionThrown" | "Runtime.consoleAPICalled":
                self.complaints.append(json.dumps(details))


@contextlib.contextmanager
def browser(profile: Path, *options: str) -> Iterator[Page]:
    """A page of a new browser; the test skips where there is none. ``options`` are the browser's,
    such as ``--host-resolver-rules=MAP example.org 127.0.0.1``."""
    program = require_tool("chromium")
    process = subprocess.Popen(
        [program, *_OPTIONS, *options, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        address = next(line for line in process.stderr if line.startswith(_ANNOUNCED))
        url = address.removeprefix(_ANNOUNCED).strip()
        with contextlib.closing(websocket.create_connection(url, timeout=PATIENCE)) as socket:
            yield Page(socket)
    finally:
        process.terminate()
        process.wait(PATIENCE)
