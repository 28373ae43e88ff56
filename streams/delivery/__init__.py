"""Alerts to people: a client of Alertmanager, and signed webhooks. Knows HTTP, and nothing of Kafka."""
