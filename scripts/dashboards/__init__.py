"""The panels of the Grafana dashboards, and the queries they share."""
