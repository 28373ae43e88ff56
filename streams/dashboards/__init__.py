"""Grafana's dashboards, made of the KPI catalogue: pure functions from definitions to JSON."""
