"""Write the two Grafana dashboards; with --check, fail when they have drifted from this program.

Their panels are in dashboards/, one file per dashboard.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from dashboards.engine import ENGINE
from dashboards.overview import OVERVIEW
from dashboards.panel import DATASOURCE, Panel

DASHBOARDS = Path(__file__).resolve().parents[1] / "helm" / "avikam" / "monitoring" / "dashboards"


def dashboard(uid: str, title: str, description: str, panels: tuple[Panel, ...]) -> str:
    """Grafana's JSON of a dashboard."""
    model = {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["avikam"],
        "editable": False,
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "templating": {"list": _variables()},
        "panels": [panel.model(index) for index, panel in enumerate(panels)],
    }
    return json.dumps(model, indent=2) + "\n"


def _variables() -> list[dict[str, Any]]:
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        _variable("namespace", "label_values(avikam_gateway_workers_known, namespace)"),
        _variable("pool", 'label_values(avikam_worker_slots{namespace=~"$namespace"}, pool)'),
    ]


def _variable(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        # Matches an absent label too: a scrape outside Kubernetes has no namespace.
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def dashboards() -> dict[str, str]:
    """File name and content of each dashboard."""
    return {
        "avikam-overview.json": dashboard(
            "avikam-overview", "Avikam: overview", "What users see.", OVERVIEW
        ),
        "avikam-engine.json": dashboard(
            "avikam-engine", "Avikam: engine", "What workers do.", ENGINE
        ),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, report drift")
    check = parser.parse_args().check
    fresh = dashboards()
    present = {path.name: path.read_text() for path in DASHBOARDS.glob("*.json")}
    drifted = [name for name, text in fresh.items() if present.get(name) != text]
    for name in drifted:
        if check:
            print(f"{DASHBOARDS.name}/{name} has drifted: run `make chart`")
        else:
            DASHBOARDS.mkdir(exist_ok=True)
            (DASHBOARDS / name).write_text(fresh[name])
    return 1 if check and drifted else 0


if __name__ == "__main__":
    sys.exit(main())
