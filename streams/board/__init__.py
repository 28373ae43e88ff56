"""The live page: KPIs, alerts, verbatims and the pipeline's health out of ClickHouse, for a browser on the wall."""
