"""Rules, routes and runbooks, judged by Prometheus' and Alertmanager's own tools."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.helm import OPERATOR, ROOT, named, of_kind, render
from tests.tools import require_tool

MONITORING = ROOT / "deploy" / "monitoring"
RULES = sorted((MONITORING / "rules").glob("*.yaml"))
CASES = sorted((MONITORING / "tests").glob("*.yaml"))
DASHBOARDS = sorted((MONITORING / "dashboards").glob("*.json"))
ALERTMANAGER = MONITORING / "alertmanager.yaml"


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alerts() -> dict[str, dict[str, Any]]:
    """Every alert, by name."""
    groups = [group for file in RULES for group in yaml.safe_load(file.read_text())["groups"]]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def test_rules_are_well_formed() -> None:
    run(require_tool("promtool"), "check", "rules", *RULES)


@pytest.mark.parametrize("file", CASES, ids=lambda path: path.stem)
def test_alerts_fire_and_keep_silent(file: Path) -> None:
    run(require_tool("promtool"), "test", "rules", file)


def test_every_alert_has_a_firing_and_a_silent_case() -> None:
    fires: Counter[str] = Counter()
    silent: Counter[str] = Counter()
    for case in (case for file in CASES for case in yaml.safe_load(file.read_text())["tests"]):
        for expected in case.get("alert_rule_test", []):
            counter = fires if expected.get("exp_alerts") else silent
            counter[expected["alertname"]] += 1
    assert set(fires) == set(silent) == set(alerts())


@pytest.mark.parametrize("name", alerts())
def test_an_alert_leads_to_its_runbook_and_dashboard(name: str) -> None:
    annotations = alerts()[name]["annotations"]
    runbook = (ROOT / annotations["runbook_url"]).read_text()
    assert runbook.startswith(f"# {name}\n")
    for section in ("## What it means", "## What to look at", "## What to do"):
        assert section in runbook
    boards = {f"/d/{json.loads(file.read_text())['uid']}" for file in DASHBOARDS}
    assert annotations["dashboard_url"] in boards
    assert annotations["summary"]
    # The description shows the figure, where the expression has one.
    assert (
        "{{ $" in annotations["description"]
        or "absent" in alerts()[name]["expr"]
        or (name == "AvikamNoReadyWorker")
    )


def test_no_runbook_is_left_without_an_alert() -> None:
    pages = {page.stem for page in (ROOT / "docs" / "operations" / "runbooks").glob("Avikam*.md")}
    assert pages == set(alerts())


def test_the_page_about_monitoring_lists_every_alert() -> None:
    page = (ROOT / "docs" / "operations" / "monitoring.md").read_text()
    for name, rule in alerts().items():
        assert f"| [{name}](runbooks/{name}.md) | {rule['labels']['severity']} |" in page


@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "pager"), ("warning", "chat"), ("none", "chat")]
)
def test_alerts_reach_their_receiver(severity: str, receiver: str) -> None:
    command = (require_tool("amtool"), "config", "routes", "test")
    options = (f"--config.file={ALERTMANAGER}", f"--verify.receivers={receiver}")
    run(*command, *options, f"severity={severity}")


def test_alertmanager_reads_its_configuration() -> None:
    run(require_tool("amtool"), "check-config", ALERTMANAGER)


def test_the_clusters_routes_are_the_same() -> None:
    values = {
        "monitoring": {"alertmanagerConfig": {"enabled": True, "existingSecret": "webhooks"}},
    }
    found = named(render(values=values), "AlertmanagerConfig", "avikam")["spec"]
    plain = yaml.safe_load(ALERTMANAGER.read_text())
    assert found["route"]["receiver"] == plain["route"]["receiver"]
    assert found["route"]["groupBy"] == plain["route"]["group_by"]
    pager, expected = found["route"]["routes"][0], plain["route"]["routes"][0]
    assert [f"{m['name']} {m['matchType']} {m['value']}" for m in pager["matchers"]] == (
        expected["matchers"]
    )
    assert pager["receiver"] == expected["receiver"]
    assert {r["name"] for r in found["receivers"]} == {r["name"] for r in plain["receivers"]}


def test_alerts_can_be_labelled_and_left_out() -> None:
    values = {
        "monitoring": {
            "alertLabels": {"team": "inference", "severity": "mine"},
            "disabledAlerts": ["AvikamPodsRestarting"],
        }
    }
    wrapped = of_kind(render(values=values, apis=OPERATOR), "PrometheusRule")
    found = {
        rule["alert"]: rule["labels"]
        for resource in wrapped
        for group in resource["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    assert set(found) == set(alerts()) - {"AvikamPodsRestarting"}
    for name, labels in found.items():
        assert labels == {"team": "inference", **alerts()[name]["labels"]}


def test_promtool_reads_what_the_cluster_gets(tmp_path: Path) -> None:
    for resource in of_kind(render(apis=OPERATOR), "PrometheusRule"):
        file = tmp_path / f"{resource['metadata']['name']}.yaml"
        file.write_text(yaml.safe_dump(resource["spec"]))
        run(require_tool("promtool"), "check", "rules", file)


def test_the_chart_wraps_the_rules_as_they_are() -> None:
    values = {
        "monitoring": {
            "runbookBaseUrl": "https://git.example.com/",
            "grafanaUrl": "https://grafana.example.com",
        }
    }
    wrapped = of_kind(render(values=values, apis=OPERATOR), "PrometheusRule")
    groups = {group["name"]: group for rule in wrapped for group in rule["spec"]["groups"]}
    plain = [group for file in RULES for group in yaml.safe_load(file.read_text())["groups"]]
    assert set(groups) == {group["name"] for group in plain}
    for group in plain:
        for mine, theirs in zip(group["rules"], groups[group["name"]]["rules"], strict=True):
            # What is absent has no namespace, and the operator routes alerts by it.
            expected = re.sub(r"absent\((\w+)\)", r'absent(\1{namespace="avikam"})', mine["expr"])
            assert theirs["expr"] == expected
    alert = groups["avikam-workers"]["rules"][0]["annotations"]
    assert alert["runbook_url"] == (
        "https://git.example.com/docs/operations/runbooks/AvikamNoReadyWorker.md"
    )
    assert alert["dashboard_url"] == "https://grafana.example.com/d/avikam-overview"
