"""A few clients that ask without a pause while something else happens: did every request succeed?

    python loadtests/steady.py URL SECONDS

Exit status 1 when one failed or none came through. Python alone is needed, so that it runs inside
the gateway's image, in the cluster that is being upgraded. Keys: AVIKAM_API_KEY.
"""

import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request

CLIENTS = 4
PAUSE_SECONDS = 0.05
BODY = json.dumps({"prompt": "Bonjour", "max_tokens": 8}).encode()


def ask(url: str) -> str:
    """What went wrong with one request; empty when nothing did."""
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("AVIKAM_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url + "/generate", data=BODY, headers=headers)  # noqa: S310 - the user's own
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return "" if json.load(answer)["text"] else "an empty answer"
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read(200).decode(errors='replace')}"
    except (OSError, ValueError, KeyError) as error:
        return repr(error)


def client(url: str, until: float, outcomes: list[str]) -> None:
    """Ask until it is time; one outcome per request."""
    while time.monotonic() < until:
        outcomes.append(ask(url))
        time.sleep(PAUSE_SECONDS)


def main(url: str, seconds: str) -> int:
    """Ask from all clients; the exit status."""
    outcomes: list[str] = []
    until = time.monotonic() + float(seconds)
    threads = [
        threading.Thread(target=client, args=(url.rstrip("/"), until, outcomes))
        for _ in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failed = [outcome for outcome in outcomes if outcome]
    print(f"{len(outcomes)} requests, {len(failed)} failed", *failed[:20], sep="\n")
    return 1 if failed or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
