"""Write the parts of the chart that follow from others; with --check, report drift instead.

values.schema.json   definitions gatewayConfig and workerConfig follow the settings classes
README.md            the table of values follows the `# --` comments of values.yaml
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from avikam.common.settings import Settings
from avikam.gateway.settings import GatewaySettings
from avikam.worker.settings import WorkerSettings

CHART = Path(__file__).resolve().parents[1] / "helm" / "avikam"
# The chart decides these itself: a value for them would contradict its ports, mounts and probes.
CHART_OWNED = {
    "gatewayConfig": {
        *("host", "http_port", "grpc_port", "metrics_port", "workers", "keys", "log_format"),
        *("drain_notice_seconds", "drain_seconds"),
        "redis",
        "worker_token",
        *("worker_tls_key", "worker_tls_certificate", "worker_tls_authority", "worker_tls_name"),
        *("tracing_endpoint", "tracing_sample_ratio"),
    },
    "workerConfig": {
        *("host", "port", "metrics_port", "model", "adapters"),
        *("kv_redis", "kv_secret", "registry", "registry_address"),
        *("log_format", "worker_id"),
        *("token", "open"),
        *("tls_key", "tls_certificate", "tls_authority"),
        *("tracing_endpoint", "tracing_sample_ratio"),
        *("drain_accept_seconds", "drain_seconds"),
    },
}
TABLE = re.compile(r"(?<=<!-- values -->\n).*?(?=<!-- end of values -->)", re.DOTALL)


def schema() -> str:
    """values.schema.json with the services' settings as they are now."""
    whole = json.loads((CHART / "values.schema.json").read_text())
    whole["definitions"]["gatewayConfig"] = _section(GatewaySettings, "gatewayConfig")
    whole["definitions"]["workerConfig"] = _section(WorkerSettings, "workerConfig")
    return json.dumps(whole, indent=2) + "\n"


def _section(settings: type[Settings], name: str) -> dict[str, Any]:
    """Settings that a user may give: no defaults here, the services have them."""
    properties = settings.model_json_schema()["properties"]
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            key: _without(schema, "default", "title", "format")
            for key, schema in sorted(properties.items())
            if key not in CHART_OWNED[name]
        },
    }


def _without(schema: dict[str, Any], *names: str) -> dict[str, Any]:
    """A property's schema without these keywords, its alternatives included."""
    kept = {key: value for key, value in schema.items() if key not in names}
    if "anyOf" in kept:
        kept["anyOf"] = [_without(option, *names) for option in kept["anyOf"]]
    return kept


def readme() -> str:
    """README.md with the table of values as values.yaml documents them."""
    rows = "".join(f"| `{key}` | {default} | {text} |\n" for key, default, text in _documented())
    table = f"\n| value | default | what it is |\n|---|---|---|\n{rows}\n"
    return TABLE.sub(lambda _: table, (CHART / "README.md").read_text())


def _documented() -> Iterator[tuple[str, str, str]]:
    """Key, default and text of every value under a `# --` comment."""
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    path: list[str] = []
    comment = ""
    for line in text.splitlines():
        if found := re.match(r" *# -- (.*)", line):
            comment = found[1]
        elif found := re.match(r"( *)([\w.-]+):", line):
            path = [*path[: len(found[1]) // 2], found[2]]
            if comment:
                yield ".".join(path), _default(values, path), comment.replace("|", "\\|")
            comment = ""


def _default(values: Any, path: list[str]) -> str:
    for key in path:
        values = values[key]
    if path == ["profiles"]:
        return ", ".join(f"`{name}`" for name in values)
    return f"`{json.dumps(values)}`"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, report drift")
    check = parser.parse_args().check
    fresh = {"values.schema.json": schema(), "README.md": readme()}
    drifted = [name for name, text in fresh.items() if (CHART / name).read_text() != text]
    for name in drifted:
        if check:
            print(f"helm/avikam/{name} has drifted: run `make chart`")
        else:
            (CHART / name).write_text(fresh[name])
    return 1 if check and drifted else 0


if __name__ == "__main__":
    sys.exit(main())
