"""Every expression of rules and dashboards, and the metrics they name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.helm import ROOT

MONITORING = ROOT / "deploy" / "monitoring"
RULES = sorted((MONITORING / "rules").glob("*.yaml"))
DASHBOARDS = sorted((MONITORING / "dashboards").glob("*.json"))

_METRIC = re.compile(r"\b(?:avikam_\w+|vllm:\w+|kube_\w+|certmanager_\w+|avikam:[\w:]+)")
_NAMES = re.compile(r'__name__=~"([^"]*)"')


def rules() -> list[dict[str, Any]]:
    """Recording and alerting rules."""
    groups = [group for file in RULES for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[tuple[str, str]]:
    """Board and panel, and the expression with Grafana's variables filled in."""
    found = []
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel["targets"]:
                title = f"{file.stem}: {panel['title']}"
                found.append((title, without_variables(target["expr"])))
    return found


def without_variables(expression: str) -> str:
    """PromQL as Grafana would send it."""
    filled = expression.replace("$__rate_interval", "1m")
    return filled.replace("$namespace", ".*").replace("$pool", ".*")


def metrics(expression: str) -> set[str]:
    """Names of the series that an expression reads; a pattern over names yields its matches."""
    patterns = _NAMES.findall(expression)
    plain = set(_METRIC.findall(_NAMES.sub("", expression)))
    return plain.union(*(_alternatives(pattern) for pattern in patterns))


def _alternatives(pattern: str) -> set[str]:
    """`a|b` and `x_(a|b)_y`, spelled out."""
    if found := re.fullmatch(r"(.*)\(([^)]*)\)(.*)", pattern):
        return {f"{found[1]}{middle}{found[3]}" for middle in found[2].split("|")}
    return set(pattern.split("|"))


def write_as_rules(expressions: list[str], path: Path) -> Path:
    """A rules file that promtool can judge."""
    content = [{"record": f"panel:{i}", "expr": text} for i, text in enumerate(expressions)]
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": content}]}))
    return path
