"""A panel: a title, what it tells, a unit, queries. The JSON around them is always the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT, COLUMNS = 8, 8, 3


@dataclass(frozen=True)
class Panel:
    """One panel; ``queries`` maps legend to PromQL."""

    title: str
    description: str
    unit: str
    queries: dict[str, str]
    kind: str = "timeseries"

    def model(self, index: int) -> dict[str, Any]:
        """Grafana's JSON."""
        row, column = divmod(index, COLUMNS)
        return {
            "id": index + 1,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
            "fieldConfig": {"defaults": {"unit": self.unit, "min": 0}, "overrides": []},
            "options": _OPTIONS[self.kind],
            "targets": [
                {
                    "refId": chr(ord("A") + number),
                    "datasource": DATASOURCE,
                    "expr": query,
                    "legendFormat": legend,
                    "exemplar": "_bucket" in query,
                }
                for number, (legend, query) in enumerate(self.queries.items())
            ],
        }


_OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"},
}
