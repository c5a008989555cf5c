"""Four sources, one order; unknown names and bad values are one clear line each."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from avikam.common.settings import (
    Addresses,
    Port,
    Settings,
    SettingsError,
    load,
    load_with_origins,
)
from avikam.gateway.settings import GatewaySettings
from avikam.worker.settings import WorkerSettings


class Example(Settings):
    """A service's settings, small."""

    http_port: Port = 1
    grpc_port: Port | None = None
    peers: Addresses = ()
    ratio: float = Field(default=0.5, ge=0, le=1)
    verbose: bool = False
    password: SecretStr | None = None


# Weakest first; each gives http_port a number of its own.
SOURCES = {"default": 1, "file": 2, "environment": 3, "flag": 4}
OPTIONAL = tuple(SOURCES)[1:]


@pytest.mark.parametrize(
    "given", [group for size in range(4) for group in combinations(OPTIONAL, size)], ids="+".join
)
def test_the_strongest_source_that_is_given_wins(given: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "avikam.yaml"
    file.write_text("gateway: {http_port: 2}")
    loaded = load_with_origins(
        Example,
        "gateway",
        file if "file" in given else None,
        {"http_port": "4"} if "flag" in given else None,
        {"AVIKAM_GATEWAY__HTTP_PORT": "3"} if "environment" in given else {},
    )
    winner = given[-1] if given else "default"
    assert loaded.settings.http_port == SOURCES[winner]
    assert loaded.origins["http_port"].source == winner
    assert loaded.is_default("http_port") is (winner == "default")


def test_an_origin_names_the_place() -> None:
    environ = {"AVIKAM_GATEWAY__RATIO": "0.1"}
    loaded = load_with_origins(Example, "gateway", None, {"http_port": 7}, environ)
    assert str(loaded.origins["http_port"]) == "flag --http-port"
    assert str(loaded.origins["ratio"]) == "environment AVIKAM_GATEWAY__RATIO"
    assert str(loaded.origins["verbose"]) == "default"


def problems_of(
    tmp_path: Path,
    file: str = "",
    flags: dict[str, object] | None = None,
    environ: dict[str, str] | None = None,
) -> list[str]:
    path = tmp_path / "c.yaml"
    path.write_text(file)
    with pytest.raises(SettingsError) as caught:
        load(Example, "gateway", path, flags, environ or {})
    return [line.replace(str(path), "c.yaml") for line in caught.value.problems]


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (
            {"flags": {"http_prot": 1}},
            "--http-prot is not a setting; did you mean --http-port?",
        ),
        (
            {"environ": {"AVIKAM_GATEWAY__HTTP_PROT": "1"}},
            "AVIKAM_GATEWAY__HTTP_PROT is not a setting; did you mean AVIKAM_GATEWAY__HTTP_PORT?",
        ),
        (
            {"file": "gateway: {http_prot: 1}"},
            "gateway.http_prot in c.yaml is not a setting; did you mean http_port?",
        ),
        (
            {"file": "gatway: {http_port: 1}"},
            "gatway in c.yaml is not a section; did you mean gateway?",
        ),
        (
            {"environ": {"AVIKAM_GATWAY__RATIO": "1"}},
            "AVIKAM_GATWAY__RATIO: GATWAY is not a section; did you mean GATEWAY?",
        ),
        (
            {"environ": {"AVIKAM_GATEWAY__ZZZZ": "1"}},
            "AVIKAM_GATEWAY__ZZZZ is not a setting; known: log_level, log_format, "
            "tracing_endpoint, tracing_sample_ratio, http_port, grpc_port, peers, ratio, verbose, "
            "password",
        ),
        (
            {"flags": {"http_port": "70000"}},
            "--http-port is '70000': input should be less than or equal to 65535",
        ),
        (
            {"environ": {"AVIKAM_GATEWAY__RATIO": "2"}},
            "AVIKAM_GATEWAY__RATIO is '2': input should be less than or equal to 1",
        ),
        (
            {"file": "gateway: {verbose: perhaps}"},
            "gateway.verbose in c.yaml is 'perhaps': input should be a valid boolean, "
            "unable to interpret input",
        ),
        (
            {"file": "gateway: {password: 123456}"},
            "gateway.password in c.yaml is refused: input should be a valid string",
        ),
        (
            {"environ": {"AVIKAM_GATEWAY__TRACING_ENDPOINT": "collector:4318"}},
            "AVIKAM_GATEWAY__TRACING_ENDPOINT is 'collector:4318': a collector's address is "
            "http://HOST:PORT, or https",
        ),
        (
            {"flags": {"tracing_sample_ratio": 1.5}},
            "--tracing-sample-ratio is 1.5: input should be less than or equal to 1",
        ),
        ({"file": "gateway: [1]"}, "gateway in c.yaml must hold names and values"),
        ({"file": "- gateway"}, "c.yaml must hold the sections gateway, worker"),
    ],
)
def test_a_problem_is_one_line_with_the_way_out(
    source: dict[str, object], line: str, tmp_path: Path
) -> None:
    assert problems_of(tmp_path, **source) == [line]  # type: ignore[arg-type]


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    lines = problems_of(
        tmp_path, "gateway: {ratio: 7}", {"http_port": "x"}, {"AVIKAM_GATEWAY__RATOI": "1"}
    )
    assert [line.split(" ")[0] for line in lines] == [
        "AVIKAM_GATEWAY__RATOI",
        "--http-port",
        "gateway.ratio",
    ]


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^cannot read .*none\.yaml: No such file"):
        load(Example, "gateway", tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("gateway: {")
    with pytest.raises(SettingsError) as caught:
        load(Example, "gateway", broken)
    assert len(caught.value.problems) == 1
    assert "\n" not in caught.value.problems[0]


def test_names_that_kubernetes_injects_are_not_ours() -> None:
    environ = {
        "AVIKAM_GATEWAY_PORT": "tcp://10.0.0.1:8000",
        "AVIKAM_GATEWAY_SERVICE_HOST": "10.0.0.1",
        "AVIKAM_GATEWAY_PORT_8000_TCP_ADDR": "10.0.0.1",
        "AVIKAM_API_KEY": "secret",
    }
    assert load(GatewaySettings, "gateway", environ=environ) == GatewaySettings()


def test_the_other_sections_names_are_not_this_sections_business(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("worker: {slots: 4}\ngateway: {http_port: 9}")
    environ = {"AVIKAM_WORKER__TOKEN_BUDGET": "128"}
    assert load(GatewaySettings, "gateway", file, environ=environ).http_port == 9
    worker = load(WorkerSettings, "worker", file, environ=environ)
    assert (worker.slots, worker.token_budget) == (4, 128)


@pytest.mark.parametrize("word", ["off", "none", "OFF", ""])
def test_what_may_be_absent_can_be_switched_off(word: str) -> None:
    environ = {"AVIKAM_GATEWAY__GRPC_PORT": word}
    assert load(Example, "gateway", flags={}, environ=environ).grpc_port is None


def test_off_in_a_file_is_absent_although_yaml_reads_it_as_false(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("gateway: {grpc_port: off}")
    assert load(Example, "gateway", file).grpc_port is None


def test_lists_are_separated_by_commas() -> None:
    assert load(Example, "gateway", flags={"peers": " a:1, b:2,"}).peers == ("a:1", "b:2")


def test_settings_cannot_be_changed_after_loading() -> None:
    settings = load(Example, "gateway")
    with pytest.raises(ValueError, match="frozen"):
        settings.http_port = 2


def test_a_secret_may_be_a_mounted_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s3cret\n")
    environ = {"AVIKAM_GATEWAY__PASSWORD_FILE": str(file)}
    loaded = load_with_origins(Example, "gateway", environ=environ)
    assert loaded.settings.password == SecretStr("s3cret")
    assert loaded.origins["password"].name == "AVIKAM_GATEWAY__PASSWORD_FILE"


def test_a_missing_secret_file_is_named() -> None:
    with pytest.raises(SettingsError) as refusal:
        load(Example, "gateway", environ={"AVIKAM_GATEWAY__PASSWORD_FILE": "/nowhere/password"})
    assert refusal.value.problems == [
        "AVIKAM_GATEWAY__PASSWORD_FILE names /nowhere/password, which cannot be read: "
        "No such file or directory"
    ]


def test_only_secrets_may_be_files() -> None:
    with pytest.raises(SettingsError, match="RATIO_FILE is not a setting"):
        load(Example, "gateway", environ={"AVIKAM_GATEWAY__RATIO_FILE": "/etc/hostname"})
