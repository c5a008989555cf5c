"""Images and compose.yaml, as far as they can be judged without a container engine.

By the linters, by the schemas, and by the settings classes that the containers will run.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import redis
import yaml

from avikam import __version__
from avikam.common.settings import load
from avikam.gateway.settings import GatewaySettings
from avikam.worker.settings import WorkerSettings
from tests.cluster.helm import CHART, ROOT
from tests.cluster.schemas import module_folder
from tests.tools import require_tool

DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
COMPOSE_GO = (
    "github.com/compose-spec/compose-go/v2@v2.10.1",
    "h1:mFbXobojGRFIVi1UknrvaDAZ+PkJfyjqkA1yseh+vAU=",
)


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_has_no_complaint(file: Path) -> None:
    command = [require_tool("hadolint"), "--config", str(ROOT / "docker" / "hadolint.yaml")]
    done = subprocess.run([*command, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_is_unprivileged_pinned_and_described(file: Path) -> None:
    text = file.read_text()
    final = text[text.rindex("\nFROM ") :]
    assert "USER 10001:10001" in final
    assert "HEALTHCHECK" in final
    assert "org.opencontainers.image.version" in final
    assert "FROM scratch AS sbom" in text
    for base in re.findall(r"^ARG \w+_IMAGE=(.*)$", text, re.MULTILINE):
        assert ":" in base
        assert not base.endswith(":latest")


def test_the_gateways_image_has_no_torch() -> None:
    text = (ROOT / "docker" / "gateway.Dockerfile").read_text()
    assert "pip install --no-cache-dir --no-compile '.[tracing]'\n" in text
    assert "COPY models" not in text


def test_the_build_context_holds_what_the_images_copy() -> None:
    allowed = (ROOT / ".dockerignore").read_text()
    copied = {
        name
        for file in DOCKERFILES
        for line in re.findall(r"^COPY (?!--)(.*) \S+$", file.read_text(), re.MULTILINE)
        for name in line.split()
    }
    assert copied
    for name in copied:
        assert f"!{name}\n" in allowed
        assert (ROOT / name).exists()


def test_images_charts_and_package_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == __version__
    for file in DOCKERFILES:
        assert f"ARG VERSION={__version__}\n" in file.read_text()
    for name in ("gateway", "worker"):
        assert SERVICES[name]["image"].endswith(f":{__version__}")


def test_compose_is_valid() -> None:
    schema = module_folder(*COMPOSE_GO) / "schema" / "compose-spec.json"
    jsonschema.Draft7Validator(json.loads(schema.read_text())).validate(COMPOSE)


def test_composes_settings_are_the_services_settings(tmp_path: Path) -> None:
    gateway = load(GatewaySettings, "gateway", environ=environment("gateway", tmp_path))
    worker = load(WorkerSettings, "worker", environ=environment("worker", tmp_path))
    assert gateway.worker_token == worker.token
    assert gateway.workers == (f"dns:worker:{worker.port}",)
    assert grace("gateway") > gateway.drain_notice_seconds + gateway.drain_seconds
    assert grace("worker") > worker.drain_accept_seconds + worker.drain_seconds


def environment(service: str, folder: Path) -> dict[str, str]:
    """What a service gets, with a file where the user's own secret is mounted."""
    token = folder / "worker-token"
    token.write_text("a" * 32)
    given = SERVICES[service]["environment"].items()
    return {
        name: str(token) if name.endswith("TOKEN_FILE") else filled(value) for name, value in given
    }


def filled(text: str) -> str:
    """With a password of its own for each that the user's ``.env`` has."""
    return re.sub(r"\$\{(AVIKAM_\w+_PASSWORD):\?[^}]*\}", lambda m: m[1].lower() * 2, text)


def test_every_password_of_compose_is_one_that_its_head_makes() -> None:
    text = (ROOT / "compose.yaml").read_text()
    (made,) = re.findall(r"for n in ([A-Z_ ]+); do", text)
    asked = set(re.findall(r"\$\{AVIKAM_(\w+)_PASSWORD:\?", text))
    assert asked == set(made.split())


def test_composes_redis_lets_its_two_accounts_in_and_nobody_else(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    command = [filled(argument) for argument in SERVICES["redis"]["command"]]
    place = ("--bind", "127.0.0.1", "--port", str(port))
    with subprocess.Popen([require_tool("redis-server"), *command, *place], cwd=tmp_path) as server:
        try:
            for service, name in (("gateway", "REDIS"), ("worker", "KV_REDIS")):
                address = environment(service, tmp_path)[f"AVIKAM_{service.upper()}__{name}"]
                client = redis.Redis.from_url(address.replace("redis:6379", f"127.0.0.1:{port}"))
                wait_for(client)
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.config_get("maxmemory")
            with pytest.raises(redis.AuthenticationError):
                redis.Redis(port=port).ping()
        finally:
            server.terminate()


def wait_for(client: redis.Redis) -> None:
    """Until the server answers."""
    for _ in range(200):
        try:
            client.ping()
            return
        except redis.ConnectionError:
            time.sleep(0.05)


def test_every_container_has_a_bound_on_its_memory() -> None:
    assert all(service.get("mem_limit") for service in SERVICES.values())


def test_the_gateways_keys_are_a_mounted_folder(tmp_path: Path) -> None:
    """``avikam keys`` replaces the file; a file that were mounted itself would stay the old one."""
    gateway = load(GatewaySettings, "gateway", environ=environment("gateway", tmp_path))
    (mount,) = SERVICES["gateway"]["volumes"]
    source, target, mode = re.fullmatch(r"(\$\{.*\}):([^:]+):(\w+)", mount).groups()  # type: ignore[union-attr]
    assert source == "${AVIKAM_KEYS:-./keys}"
    assert gateway.keys == Path(target) / "keys.yaml"
    assert mode == "ro"


def grace(service: str) -> int:
    return int(SERVICES[service]["stop_grace_period"].removesuffix("s"))


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_is_hardened_and_pinned(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert re.search(r":v?\d+\.\d+\.\d+", service["image"])
    # Nothing listens beyond this machine.
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    for volume in service.get("volumes", []):
        source = volume.partition(":")[0]
        if source.startswith("./"):
            assert (ROOT / source).exists()
