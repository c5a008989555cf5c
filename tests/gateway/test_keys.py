"""API keys: who is let in, by which header, to what, and how the key file is followed."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml
from typer.testing import CliRunner

from avikam.cli.main import app
from avikam.engine.interface import SequenceSpec, Sink
from avikam.gateway.access.failed_tries import FailedTries, beginning_of
from avikam.gateway.access.key_file import KeyFileError, read_keys, write_keys
from avikam.gateway.access.keys import Key, KeyRing, Scope, digest, new_secret
from avikam.gateway.server import StartError
from tests.gateway.clock import Clock
from tests.gateway.harness import RunningGateway, gateway_at, serving
from tests.worker.harness import eventually

OPEN = {"/livez", "/readyz", "/health", "/health/live", "/health/ready"}


def make_key(key_id: str, *scopes: Scope, tenant: str = "acme") -> tuple[str, Key]:
    """A secret and its entry."""
    secret = new_secret(key_id)
    key = Key(id=key_id, sha256=digest(secret), tenant=tenant, scopes=scopes or ("infer",))
    return secret, key


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


SECRET, KEY = make_key("alice")
METRICS_SECRET, METRICS_KEY = make_key("prometheus", "metrics")
ADMIN_SECRET, ADMIN_KEY = make_key("root", "admin")
SECRETS = {"alice": SECRET, "prometheus": METRICS_SECRET, "root": ADMIN_SECRET}


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.yaml"
    write_keys(path, [KEY, METRICS_KEY, ADMIN_KEY])
    return path


@pytest_asyncio.fixture
async def gateway(key_file: Path) -> AsyncIterator[RunningGateway]:
    """A gateway with keys and no worker: what is refused needs none."""
    async with gateway_at("127.0.0.1:1", keys=key_file) as started:
        yield started


async def test_every_route_but_the_probes_needs_a_key(gateway: RunningGateway) -> None:
    paths = {route.path for route in gateway.server.gateway.router.routes}
    paths |= {"/no/such/route"}
    gateway.server.gateway.gatekeeper._failed.count = lambda *_: None  # type: ignore[method-assign]

    for path in sorted(paths):
        for method in ("GET", "HEAD", "POST", "DELETE"):
            status = (await gateway.client.request(method, path)).status_code
            assert (status == 401) == (path not in OPEN), (method, path, status)
    assert paths > OPEN | {"/docs", "/openapi.json"}


async def test_a_refusal_is_an_envelope_with_a_challenge(gateway: RunningGateway) -> None:
    reply = await gateway.post("/generate", prompt="Bonjour")

    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert reply.json()["error"] == {
        "message": "Send a valid API key as 'Authorization: Bearer KEY' or 'x-api-key: KEY'.",
        "type": "authentication_error",
        "param": None,
        "code": "invalid_api_key",
    }


@pytest.mark.parametrize(
    "headers",
    [
        bearer(SECRET),
        {"authorization": f"bearer   {SECRET}"},
        {"x-api-key": SECRET},
        {"x-api-key": SECRET, **bearer(SECRET)},
        {"x-api-key": SECRET, "authorization": "Basic dXNlcjpwYXNz"},
    ],
)
async def test_either_header_carries_the_key(
    gateway: RunningGateway, headers: dict[str, str]
) -> None:
    assert (await gateway.get("/version", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer"},
        bearer(SECRET[:-1]),
        bearer(SECRET + "x"),
        bearer(SECRET.replace("alice", "root")),
        bearer(SECRET.rpartition("-")[2]),
        bearer(KEY.sha256),
        {"authorization": SECRET},
        {"authorization": f"Basic {SECRET}"},
        {"x-api-key": SECRET, **bearer(ADMIN_SECRET)},
        {"cookie": f"x-api-key={SECRET}"},
    ],
)
async def test_wrong_keys_get_one_and_the_same_answer(
    gateway: RunningGateway, headers: dict[str, str]
) -> None:
    refused = await gateway.get("/version", headers=headers)

    assert refused.status_code == 401
    assert refused.content == (await gateway.get("/version")).content


@pytest.mark.parametrize("others", [SECRET, SECRET[:-1], "x"])
async def test_one_header_twice_is_no_key(gateway: RunningGateway, others: str) -> None:
    twice = [("authorization", f"Bearer {SECRET}"), ("authorization", f"Bearer {others}")]

    assert (await gateway.client.get("/version", headers=twice)).status_code == 401


async def test_a_key_in_bytes_that_are_no_text_is_refused(gateway: RunningGateway) -> None:
    head = b"GET /version HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-api-key: avk-alice-\xff\xfe"

    assert (await gateway.raw(head + b"\r\n\r\n")).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    ("key_id", "path", "status"),
    [
        ("alice", "/version", 200),
        ("alice", "/openapi.json", 200),
        ("alice", "/metrics", 403),
        ("alice", "/metrics/", 403),
        ("alice", "/%6Detrics", 403),
        ("prometheus", "/metrics", 200),
        ("prometheus", "/version", 403),
        ("prometheus", "/docs", 403),
        ("alice", "/v1/load_lora_adapter", 403),
        ("prometheus", "/v1/unload_lora_adapter", 403),
        ("root", "/v1/load_lora_adapter", 405),
        ("root", "/metrics", 200),
        ("root", "/version", 200),
    ],
)
async def test_scopes_say_what_a_key_may_do(
    gateway: RunningGateway, key_id: str, path: str, status: int
) -> None:
    reply = await gateway.get(path, headers=bearer(SECRETS[key_id]))

    assert reply.status_code == status
    if status == 403:
        assert reply.json()["error"]["code"] == "missing_scope"


async def test_failed_tries_of_a_key_are_limited_and_good_keys_are_not(
    gateway: RunningGateway,
) -> None:
    statuses = [(await gateway.get("/version")).status_code for _ in range(22)]
    last = await gateway.get("/version")

    assert statuses == [401] * 20 + [429] * 2
    assert 1 <= int(last.headers["retry-after"]) <= 3
    assert "not valid" in last.json()["error"]["message"]
    assert (await gateway.get("/version", headers=bearer(SECRET))).status_code == 200


async def test_what_others_try_at_an_address_does_not_hide_a_typo(gateway: RunningGateway) -> None:
    for shown in ({}, bearer("sk-somebody-elses"), bearer("avk-bob-guess"), bearer(SECRET[:-1])):
        statuses = [(await gateway.get("/version", headers=shown)).status_code for _ in range(21)]

        assert statuses == [401] * 20 + [429], shown


async def test_a_wrong_key_is_told_again_soon_however_often_it_is_tried() -> None:
    clock = Clock()
    tries = FailedTries(clock)
    told, last, longest = 0, clock.now, 0.0
    for _ in range(6000):
        clock.now += 0.01
        if tries.count("10.0.0.1", b"avk-alice") is None:
            told, last = told + 1, clock.now
        longest = max(longest, clock.now - last)

    assert longest <= 3.0
    assert told == 20 + 60 // 3 - 1 or told == 20 + 60 // 3
    clock.now += 60
    assert [tries.count("10.0.0.1", b"avk-alice") for _ in range(20)] == [None] * 20


def test_counts_are_bounded_whatever_is_shown() -> None:
    tries = FailedTries(Clock())
    for number in range(10_000):
        tries.count(f"10.0.{number // 256}.{number % 256}", b"%d" % number)

    assert len(tries._until) == 4096


@pytest.mark.parametrize(
    ("shown", "beginning"),
    [
        ({SECRET.encode()}, b"avk-alice"),
        ({b"avk-team-a.ci-1-" + b"s" * 43}, b"avk-team-a.ci-1"),
        ({b"avk-" + b"x" * 5000 + b"-y"}, b"avk-xxxx"),
        ({b"sk-proj-1234567890abcdef"}, b"sk-proj-"),
        ({b"0123456789abcdef"}, b"01234567"),
        (set(), b""),
        ({b"a", b"b"}, b""),
    ],
)
def test_a_keys_beginning_holds_nothing_of_a_secret_of_ours(
    shown: set[bytes], beginning: bytes
) -> None:
    assert beginning_of(shown) == beginning


async def test_the_tenant_is_the_keys_and_reaches_the_engine(
    key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(keys=key_file) as gateway:
        engine, tenants = gateway.worker.engine, []
        submit = engine.submit

        def spy(spec: SequenceSpec, sink: Sink) -> None:
            tenants.append(spec.tenant)
            submit(spec, sink)

        monkeypatch.setattr(engine, "submit", spy)
        headers = {**bearer(SECRET), "x-tenant": "mallory"}
        reply = await gateway.client.post("/generate", json={"prompt": "a"}, headers=headers)

    assert reply.status_code == 200
    assert tenants == ["acme"]


async def test_keys_come_and_go_while_the_gateway_runs(
    gateway: RunningGateway, key_file: Path
) -> None:
    secret, key = make_key("bob")
    ring = gateway.server.gateway.gatekeeper

    write_keys(key_file, [key])
    await eventually(lambda: ring._find({SECRET.encode()}) is None)

    assert (await gateway.get("/version", headers=bearer(secret))).status_code == 200
    assert (await gateway.get("/version", headers=bearer(SECRET))).status_code == 401


@pytest.mark.parametrize("damage", ["keys: [", "keys: [{id: alice}]", "", None])
async def test_a_damaged_file_leaves_the_keys_as_they_were(
    gateway: RunningGateway,
    key_file: Path,
    caplog: pytest.LogCaptureFixture,
    damage: str | None,
) -> None:
    _damage(key_file, damage)
    await eventually(lambda: "keeping the keys as they were" in caplog.text)

    assert (await gateway.get("/version", headers=bearer(SECRET))).status_code == 200


def _damage(path: Path, content: str | None) -> None:
    if content is None:
        path.unlink()
    else:
        path.write_text(content)


ENTRY = f"{{id: a, sha256: '{'0' * 64}', tenant: t, scopes: [infer]}}"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("keys: [", "is not YAML"),
        ("[]", "is wrong: the file: input should be"),
        ("keys: [{id: a}]", "is wrong: keys.0.sha256: field required"),
        (f"keys: [{ENTRY}, {ENTRY}]", "has the id a twice"),
        (f"keys: [{ENTRY.replace('infer', 'root')}]", "is wrong: keys.0.scopes.0: input should be"),
        (f"keys: [{ENTRY.replace('id: a', 'id: a b')}]", "is wrong: keys.0.id"),
    ],
)
async def test_a_malformed_file_stops_the_start_in_one_line(
    tmp_path: Path, content: str, complaint: str
) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(content)

    with pytest.raises(StartError) as refused:
        async with gateway_at("127.0.0.1:1", keys=path):
            pass

    message = str(refused.value)
    assert complaint in message
    assert "\n" not in message
    assert "0" * 64 not in message


async def test_no_key_reaches_a_log(
    gateway: RunningGateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    for secret in (SECRET, "avk-alice-canary"):
        await gateway.get("/metrics", headers=bearer(secret))
        await gateway.get("/version", headers={"x-api-key": secret})

    logged = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert "canary" not in logged
    assert SECRET not in logged
    assert KEY.sha256 not in logged


def test_a_ring_finds_only_whole_keys() -> None:
    ring = KeyRing([KEY, ADMIN_KEY])

    assert ring.find(SECRET.encode()) is KEY
    assert ring.find(b"") is None
    assert ring.find(SECRET.encode()[:-1]) is None
    assert ring.find(ADMIN_SECRET.replace("root", "alice").encode()) is None


def test_ids_with_dashes_are_found() -> None:
    secret, key = make_key("team-a.ci-1")

    assert KeyRing([key]).find(secret.encode()) is key


def keys_command(*arguments: str | Path) -> str:
    """What ``avikam keys`` prints."""
    done = CliRunner().invoke(app, ["keys", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_command_adds_lists_and_revokes(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    secret = keys_command("add", "bob", "--tenant", "acme", "--file", path).strip()
    keys_command("add", "prom", "--scope", "metrics", "--requests-per-minute", "60", "--file", path)

    assert KeyRing(read_keys(path)).find(secret.encode()) == read_keys(path)[0]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret not in path.read_text()
    assert keys_command("list", "--file", path) == "bob\tacme\tinfer\nprom\tprom\tmetrics\n"

    keys_command("revoke", "bob", "--file", path)
    (prom,) = read_keys(path)
    assert (prom.id, prom.requests_per_minute, prom.tokens_per_minute) == ("prom", 60, None)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["add", "alice"], "there is a key alice in"),
        (["add", "b b"], "id: String should match"),
        (["add", "carol", "--scope", "root"], "scopes: Input should be 'infer'"),
        (["add", "carol", "--tokens-per-minute", "0"], "tokens_per_minute: Input should be"),
        (["revoke", "carol"], "there is no key carol in"),
    ],
)
def test_the_command_refuses_in_one_line_and_leaves_the_file(
    key_file: Path, arguments: list[str], complaint: str
) -> None:
    before = key_file.read_bytes()
    done = CliRunner().invoke(app, ["keys", *arguments, "--file", str(key_file)])

    assert done.exit_code == 2
    assert f"error: {complaint}" in done.stderr
    assert key_file.read_bytes() == before


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere" / "keys.yaml"
    done = CliRunner().invoke(app, ["keys", "add", "a", "--file", str(missing)])

    assert done.exit_code == 2
    assert done.stderr == f"error: cannot write {missing}: No such file or directory\n"


def test_a_file_of_the_chart_is_read(tmp_path: Path) -> None:
    """The shape that helm/avikam/templates/auth.yaml writes."""
    path = tmp_path / "keys.yaml"
    secret = new_secret("default")
    entry = f"id: default, sha256: '{digest(secret)}', tenant: default, scopes: [infer, metrics]"
    path.write_text(f"keys:\n  - {{{entry}}}\n")

    key = KeyRing(read_keys(path)).find(secret.encode())
    assert key is not None
    assert (key.tenant, key.scopes) == ("default", ("infer", "metrics"))
    assert yaml.safe_load(path.read_text())["keys"][0]["id"] == "default"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"cannot read the key file .*: No such file"):
        read_keys(tmp_path / "keys.yaml")
